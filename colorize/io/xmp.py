"""XMP packets: carried as they are, with what is no longer true of the photo changed."""

import re
import xml.etree.ElementTree as ET

# IPTC's controlled vocabulary: an image made of a photo and of content from a trained model.
DIGITAL_SOURCE_TYPE = (
    "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
)

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
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
    return _set_property(text, "Orientation", "1").encode()


def stored_orientation(packet: bytes) -> int:
    """Return the orientation in a packet, as in EXIF; 1, upright, if it has none."""
    match = re.search(rb"""tiff:Orientation(?:\s*=\s*["']|>)\s*([1-8])""", packet)
    return int(match[1]) if match else 1


def mark_colorized(packet: bytes) -> bytes:
    """Record the digital source type in a packet; an empty one becomes a packet of nothing else.

    Raises:
        ValueError: if the packet is not well-formed XML with RDF.
    """
    text = _decode(packet or _EMPTY.encode())
    if DIGITAL_SOURCE_TYPE not in text:
        text = _add_description(_without_property(text, "DigitalSourceType"))
    return text.encode()


def _decode(packet: bytes) -> str:
    """Decode and check a packet, which is UTF-8 nearly always; zeros that pad it are no text."""
    packet = packet.rstrip(b"\0")
    is_utf16 = packet.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = packet.decode("utf-16" if is_utf16 else "utf-8")
        root = ET.fromstring(text.lstrip("\ufeff"))
    except (UnicodeDecodeError, ET.ParseError) as error:
        raise ValueError(f"not well-formed XML: {error}") from error
    if root.tag != f"{{{_RDF}}}RDF" and root.find(f".//{{{_RDF}}}RDF") is None:
        raise ValueError("no RDF")
    return text


def _set_property(text: str, name: str, value: str) -> str:
    """Change a simple property, where there is one: an attribute or an element."""
    text = re.sub(rf"""(\s[\w-]+:{name}\s*=\s*)(["']).*?\2""", rf"\g<1>\g<2>{value}\g<2>", text)
    return re.sub(rf"(<[\w-]+:{name}>)[^<]*(</)", rf"\g<1>{value}\g<2>", text)


def _without_property(text: str, name: str) -> str:
    """Remove a simple property: an attribute, or an element with or without content."""
    text = re.sub(rf"""\s[\w-]+:{name}\s*=\s*(["']).*?\1""", "", text)
    text = re.sub(rf"<[\w-]+:{name}\b[^>]*/>", "", text)
    return re.sub(rf"<([\w-]+:{name})\b[^>]*>[^<]*</\1\s*>", "", text)


def _add_description(text: str) -> str:
    """Add the digital source type in a description of its own, at the end of the RDF."""
    description = (
        f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="" '
        f'xmlns:Iptc4xmpExt="{_IPTC_EXT}" Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}"/>\n'
    )
    # The prefix is not always `rdf`: it may be any other, one of several, or none.
    text = re.sub(r"<((?:[\w.-]+:)?RDF)\b([^>]*)/>", r"<\1\2></\1>", text)
    ends = [match.start() for match in re.finditer(r"</(?:[\w.-]+:)?RDF\s*>", text)]
    if not ends:
        raise ValueError("no RDF")
    return text[: ends[-1]] + description + text[ends[-1] :]
