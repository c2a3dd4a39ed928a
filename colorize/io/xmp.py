"""XMP packets: carried as they are, with what is no longer true of the photo changed."""

import re
import xml.etree.ElementTree as ET

# IPTC's controlled vocabulary: an image made of a photo and of content from a trained model.
DIGITAL_SOURCE_TYPE = (
    "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
)

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_DESCRIPTION = (
    f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="" '
    f'xmlns:Iptc4xmpExt="{_IPTC_EXT}" Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}"/>\n'
)
_UTF_16 = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    f'<rdf:RDF xmlns:rdf="{_RDF}">\n</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
)


def set_upright(packet: bytes) -> bytes:
    """Let a packet say that its image is upright, if it says anything of the orientation.

    Raises:
        ValueError: if the packet is not well-formed XML with RDF.
    """
    text = _decode(packet)
    for prefix in _prefixes(text, _TIFF):
        name = f"{prefix}:Orientation"
        text = re.sub(rf"""(\s{name}\s*=\s*)(["']).*?\2""", r"\g<1>\g<2>1\g<2>", text)
        text = re.sub(rf"(<{name}>)[^<]*(</)", r"\g<1>1\g<2>", text)
    return text.encode()


def stored_orientation(packet: bytes) -> int:
    """Return the orientation in a packet, as in EXIF; 1, upright, if it has none.

    Raises:
        ValueError: if the packet is not well-formed XML with RDF.
    """
    text = _decode(packet)
    for prefix in _prefixes(text, _TIFF):
        match = re.search(rf"""{prefix}:Orientation(?:\s*=\s*["']|>)\s*([1-8])""", text)
        if match:
            return int(match[1])
    return 1


def mark_colorized(packet: bytes) -> bytes:
    """Record the digital source type in a packet; an empty one becomes a packet of nothing else.

    Raises:
        ValueError: if the packet is not well-formed XML with RDF.
    """
    text = _decode(packet or _EMPTY.encode()).replace(_DESCRIPTION, "")
    for prefix in _prefixes(text, _IPTC_EXT):
        name = f"{prefix}:DigitalSourceType"
        text = re.sub(rf"""\s{name}\s*=\s*(["']).*?\1""", "", text)
        text = re.sub(rf"<{name}\b[^>]*/>", "", text)
        text = re.sub(rf"<{name}\b[^>]*>[^<]*</{name}\s*>", "", text)
    return _add_description(text).encode()


def _decode(packet: bytes) -> str:
    """Decode and check a packet, which is UTF-8 nearly always; zeros that pad it are no text."""
    encoding = next((name for start, name in _UTF_16.items() if packet.startswith(start)), "utf-8")
    try:
        text = packet.decode(encoding).rstrip("\0")
        text = re.sub(r"""(<\?xml[^>]*?)\sencoding=(["']).*?\2""", r"\1", text)  # now UTF-8
        root = ET.fromstring(text.lstrip("\ufeff"))
    except (UnicodeDecodeError, ET.ParseError) as error:
        raise ValueError(f"not well-formed XML: {error}") from error
    if root.tag != f"{{{_RDF}}}RDF" and root.find(f".//{{{_RDF}}}RDF") is None:
        raise ValueError("no RDF")
    return text


def _prefixes(text: str, namespace: str) -> set[str]:
    """Return the prefixes that a packet declares for a namespace, for use in patterns."""
    names = re.findall(rf"""xmlns:([\w.-]+)\s*=\s*["']{re.escape(namespace)}["']""", text)
    return {re.escape(name) for name in names}


def _add_description(text: str) -> str:
    """Add the digital source type in a description of its own, at the end of the RDF."""
    # The prefix is not always `rdf`: it may be any other, one of several, or none.
    text = re.sub(r"<((?:[\w.-]+:)?RDF)\b([^>]*)/>", r"<\1\2></\1>", text)
    ends = [match.start() for match in re.finditer(r"</(?:[\w.-]+:)?RDF\s*>", text)]
    if not ends:
        raise ValueError("no RDF")
    return text[: ends[-1]] + _DESCRIPTION + text[ends[-1] :]
