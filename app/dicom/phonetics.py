"""How names sound: the codes of Daitch and Mokotoff, but M and N keep apart.

Six signs for a word. Their table knows how letters are read in German, Slavic, Hungarian and
Yiddish names as well as in English ones, and where a letter is read in two ways a word has several
codes. Two words sound alike if they have one in common: Schmidt and Smith, Katharina and Catherine.
Both M and N are 6 in the table; here N is `n`, or Anna would be Emma and Smith would be Conti.
"""

from functools import lru_cache

LENGTH = 6
_VOWELS = ("0", "1")
_SILENT = ""

# letters: the code at the start of a word, before a vowel, anywhere else; `.` is no code at all,
# and `/` parts two ways to read them
_TABLE = """
AI AJ AY : 0 1 .
AU : 0 7 .
A : 0 . .
B : 7 7 7
CHS : 5 54 54
CH : 5 5 5 / 4 4 4
CK : 5 5 5 / 45 45 45
CZ CS CSZ CZS : 4 4 4
C : 5 5 5 / 4 4 4
DRZ DRS DS DSH DSZ DZ DZH DZS : 4 4 4
D DT : 3 3 3
EI EJ EY : 0 1 .
EU : 1 1 .
E : 0 . .
FB F : 7 7 7
G : 5 5 5
H : 5 5 .
IA IE IO IU : 1 . .
I : 0 . .
J : 1 . . / 4 4 4
KS : 5 54 54
KH K : 5 5 5
L : 8 8 8
MN : 6n 6n 6n
M : 6 6 6
NM : n6 n6 n6
N : n n n
OI OJ OY : 0 1 .
O : 0 . .
P PF PH : 7 7 7
Q : 5 5 5
RZ RS : 94 94 94 / 4 4 4
R : 9 9 9
SCHTSCH SCHTSH SCHTCH SHTCH SHCH SHTSH : 2 4 4
SCH SH : 4 4 4
SHT SCHT SCHD : 2 43 43
STCH STSCH SC STRZ STRS STSH SZCZ SZCS : 2 4 4
ST SZT SHD SZD SD : 2 43 43
SZ S : 4 4 4
TCH TTCH TTSCH : 4 4 4
TH : 3 3 3
TRZ TRS TSCH TSH TS TTS TTSZ TC TZ TTZ TZS TSZ : 4 4 4
T : 3 3 3
UI UJ UY UE : 0 1 .
U : 0 . .
V W : 7 7 7
X : 5 54 54
Y : 1 . .
ZDZ ZDZH ZHDZH : 2 4 4
ZD ZHD : 2 43 43
ZH ZS ZSCH ZSH Z : 4 4 4
"""

Reading = tuple[str, str, str]


def _readings() -> dict[str, tuple[Reading, ...]]:
    table: dict[str, tuple[Reading, ...]] = {}
    for line in _TABLE.strip().lower().splitlines():
        letters, _, codes = line.partition(" : ")
        ways = [way.replace(".", "-").split() for way in codes.split("/")]
        readings = tuple((a.strip("-"), b.strip("-"), c.strip("-")) for a, b, c in ways)
        table.update(dict.fromkeys(letters.split(), readings))
    return table


_READINGS = _readings()
_LONGEST = max(map(len, _READINGS))
_END: tuple[Reading, ...] = (("end", "", ""),)


@lru_cache(4096)
def sounds(word: str) -> tuple[str, ...]:
    """Return the codes of a word, ascending; none if no letter from a to z is in it.

    `word` is folded text; other characters than a to z are passed over.

    Source: PS3.18 §8.3.4.2 (phonetic matching of names); the table is that of G. Mokotoff and
    R. Daitch, 1985
    """
    heard = _split(word)
    if not heard:
        return ()
    # the digits so far, the last sound, and how the next letters are read
    states = {("", "", reading) for reading in heard[0]}
    for place in range(len(heard)):
        following = heard[place + 1] if place + 1 < len(heard) else _END
        states = {
            (*_spoken(digits, last, _code(reading, place, after)), after)
            for digits, last, reading in states
            for after in following
        }
    return tuple(sorted({digits[:LENGTH].ljust(LENGTH, "0") for digits, _, _ in states}))


def _split(word: str) -> list[tuple[Reading, ...]]:
    letters = "".join(letter for letter in word if "a" <= letter <= "z")
    heard, at = [], 0
    while at < len(letters):
        length = next(n for n in range(_LONGEST, 0, -1) if letters[at : at + n] in _READINGS)
        heard.append(_READINGS[letters[at : at + length]])
        at += length
    return heard


def _code(reading: Reading, place: int, after: Reading) -> str:
    if place == 0:
        return reading[0]
    return reading[1] if after[0] in _VOWELS else reading[2]


def _spoken(digits: str, last: str, code: str) -> tuple[str, str]:
    """Add a sound to the digits, but once where it follows itself at once."""
    if not code:
        return digits, _SILENT
    more = code[1:] if last == code[0] else code
    return (digits + more)[:LENGTH], code[-1]
