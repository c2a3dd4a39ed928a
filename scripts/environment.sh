# Sourced by quickstart.sh and test.sh: an environment with the project and what EXTRA asks for.
#
#   make_environment EXTRA      sets PYTHON to the environment's interpreter
#
# VENV=DIR uses, or makes, the environment DIR instead of .venv. What is there already is reused;
# the network is needed only for packages that are missing.

case ${VENV:-/} in /*) ;; *) VENV=$PWD/$VENV ;; esac # as the caller sees it
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# On a busy machine, threads that spin while they wait for each other cost minutes; let them sleep.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

NEEDED_GB=8 # torch's GPU build with its libraries takes 5.5, the rest 0.5, unpacking the difference

fail() {
    printf '\n%s: %s\n' "$(basename "$0")" "$1" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.12 python3.11 python3 python; do
        if [ -n "$candidate" ] && "$candidate" -c \
            'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer found. Install one, or name it: PYTHON=/path/to/python3.12 bash '$0'"
}

check_disk() {
    local place free
    place=$1
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    free=$(df -Pk "$place" | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge "$NEEDED_GB" ] || fail "only $free GB free at $place, PyTorch with its libraries \
needs $NEEDED_GB. Free some space, or put the environment elsewhere: VENV=/big/disk/venv bash '$0'"
}

# Prints each requirement of the project with the extra $1 that is not installed.
missing_packages() {
    "$PYTHON" - "$1" <<'END'
import sys, tomllib
from importlib.metadata import PackageNotFoundError, version
from pip._vendor.packaging.requirements import Requirement

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
wanted = project["dependencies"] + project["optional-dependencies"][sys.argv[1]]
for line in [*wanted, "setuptools>=77"]:
    requirement = Requirement(line)
    try:
        good = requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        good = False
    if not good:
        print(line)
END
}

make_environment() {
    local extra venv missing home
    extra=$1
    venv=${VENV:-.venv}
    if [ ! -x "$venv/bin/python" ]; then
        local base
        base=$(find_python) || exit 1
        check_disk "$venv"
        echo "Making the environment $venv with $("$base" --version)"
        "$base" -m venv "$venv" || fail "could not make $venv"
    fi
    PYTHON=$(cd "$venv/bin" && pwd)/python
    "$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' \
        || fail "$venv has $("$PYTHON" --version), 3.11 or newer is needed. Remove it, or name another: VENV=DIR bash '$0'"
    missing=$(missing_packages "$extra") || fail "could not ask $venv what it holds"
    if [ -n "$missing" ]; then
        case $missing in *torch*) check_disk "$venv" ;; esac
        echo "Installing into $venv:" $missing
        # torch's vendors split it over many packages: several minutes on an ordinary line.
        printf '%s\n' "$missing" | xargs -d '\n' "$PYTHON" -m pip install --quiet --progress-bar on \
            || fail "pip failed; see above. The same command again goes on from there"
    fi
    home=$(cd / && "$PYTHON" -c 'import os, colorize; print(os.path.realpath(colorize.__path__[0]))' 2>/dev/null || true)
    if [ "$home" != "$(pwd -P)/colorize" ]; then
        "$PYTHON" -m pip install --quiet --no-deps --no-build-isolation --editable . \
            || fail "could not install the project itself; see above"
    fi
}
