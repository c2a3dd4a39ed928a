"""From a photo's file to its painting's: whole, in one run against the plain way."""

import io
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.color import lab2rgb, rgb2lab

from benches.timing import in_turn
from colorize import album, pretrained
from colorize.colorizer import Colorizer
from colorize.data.folder import load_samples
from colorize.models import create_model
from colorize.originals import encode, read_original
from colorize.photos import read_photo

_LARGE = (4000, 3000)  # 12 megapixels
_SMALL = (1000, 750)  # of a folder
_COUNT = 24  # photos of the folder
