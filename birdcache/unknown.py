"""Words that people and programs write where something is not known: nothing follows from them."""

import re
import unicodedata

STROKES = str.maketrans("øłđðħ", "olddh") | {ord("æ"): "ae", ord("œ"): "oe"}  # letters that Unicode does not take apart
DIGITS = frozenset("0123456789")
UNKNOWN = re.compile(
    "un(known|identified|specified|available|defined|named|disclosed|bekannt)|missing|blank|empty|anon(ym(ous|us|e)?)?|"
    "anonimo|none?|null|nil|na[nt]?|inconnue?|desconocid[oa]|desconhecid[oa]|sconosciut[oa]|onbekend|okand|ukendt|"
    "ukjent|tuntematon|nieznany|neznamy|неизвест(но|ен|ныи)|аноним|不明|未知|匿名"
)
NOT = re.compile("not?|without")
BESIDE = re.compile(  # what may stand beside these, as in "no author", "not specified" and "recordist unknown"
    "the|authors?|name|record(ist|er|ed)|observer|user|person|contributor|source|species|label|place|loca(tion|lity)|"
    "site|date|day|time|data|info(rmation)?|value|score|rating|known|specified|available|applicable|given|provided|"
    "stated|entered|assigned|set"
)


def plain(text: str) -> str:
    """The words of a text in lower case without accents and punctuation, with single spaces between them."""
    letters = unicodedata.normalize("NFKD", text.casefold().translate(STROKES))
    kept = [letter for letter in letters if not "\u0300" <= letter <= "\u036f"]
    words = [letter if unicodedata.category(letter)[0] in "LNM" else " " for letter in kept]
    return " ".join("".join(words).split())


def is_unknown(text: str) -> bool:
    """True for nothing, for punctuation alone, and for words such as `Unknown`, `N/A` and `not specified`."""
    if not DIGITS.isdisjoint(text):  # no such word holds one; there are tables of millions of numbers
        return False
    words = plain(text).split()
    if not words or UNKNOWN.fullmatch("".join(words)):
        return True
    rest = [word for word in words if not BESIDE.fullmatch(word)]
    unknown = bool(rest) and all(map(UNKNOWN.fullmatch, rest))
    return unknown or (0 < len(rest) < len(words) and all(map(NOT.fullmatch, rest)))
