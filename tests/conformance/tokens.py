"""
Random text of many scripts through the tokenizers package and through libawq: the same ids.

  tokens.py BUILD_DIR [SEED]
"""
import json
import os
import random
import subprocess
import sys
import unicodedata

from tokenizers import Tokenizer

from report import Report, expect

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
MODELS = ("mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss")
TEXTS = 3000
SEED = 20
SHOWN = 80  # characters of a text, and ids, in a message

# Letters, marks and digits of scripts, and characters that Unicode 15 and 16 brought.
SCRIPTS = [
    (0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x250, 0x2AF), (0x370, 0x3FF), (0x400, 0x52F),
    (0x531, 0x58F), (0x591, 0x5F4), (0x600, 0x6FF), (0x700, 0x74F), (0x900, 0x97F),
    (0x980, 0x9FE), (0xA01, 0xA76), (0xB82, 0xBFA), (0xD00, 0xD7F), (0xD81, 0xDF4),
    (0xE01, 0xE5B), (0xE81, 0xEDF), (0xF00, 0xFDA), (0x1000, 0x109F), (0x10A0, 0x10FF),
    (0x1100, 0x11FF), (0x1200, 0x137C), (0x13A0, 0x13FD), (0x1780, 0x17F9), (0x1800, 0x18AA),
    (0x1B00, 0x1B7E), (0x1C90, 0x1CBF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFE), (0x2C00, 0x2CFF),
    (0x3041, 0x309F), (0x30A0, 0x30FF), (0x3105, 0x312F), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
    (0xA000, 0xA48C), (0xA640, 0xA69F), (0xA720, 0xA7CA), (0xAC00, 0xD7A3), (0xF900, 0xFAD9),
    (0xFB00, 0xFB06), (0xFE70, 0xFEFC), (0xFF01, 0xFFEE), (0x10330, 0x1034A),
    (0x10400, 0x1044F), (0x11000, 0x11075), (0x11700, 0x11746), (0x12000, 0x12399),
    (0x13000, 0x1342E), (0x16A40, 0x16A69), (0x1D400, 0x1D7FF), (0x1E900, 0x1E95F),
    (0x20000, 0x2A6DD), (0x2F800, 0x2FA1D), (0x105C0, 0x105F3), (0x10D40, 0x10D85),
    (0x11F00, 0x11F59), (0x13460, 0x143FA), (0x16D40, 0x16D79), (0x1CC00, 0x1CCF9),
    (0x1E4D0, 0x1E4F9), (0x1E5D0, 0x1E5FF), (0x2EBF0, 0x2EE5D), (0x31350, 0x323AF)]
MARKS = [(0x300, 0x36F), (0x483, 0x489), (0x591, 0x5BD), (0x64B, 0x65F), (0x93C, 0x94D),
         (0xE31, 0xE3A), (0x1AB0, 0x1ABE), (0x1DC0, 0x1DF5), (0x20D0, 0x20F0), (0x3099, 0x309A),
         (0xFE20, 0xFE2F)]
DIGITS = "0123456789" * 3 + "٣४৫๙〇Ⅷ½²①９𝟗🯰𑁧"
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\r", "\n\n", " \n", "\v", "\f", "\x1c", "\x85", "\xa0",
          "\u1680", "\u2003", "\u2009", "\u200b", "\u2028", "\u2029", "\u202f", "\u3000", "\ufeff"]
EMOJI = ["😀", "👍🏽", "👩‍💻", "👨‍👩‍👧‍👦", "🇩🇪", "🇯🇵🇧🇷", "❤️", "1️⃣", "🏴󠁧󠁢󠁳󠁣󠁴󠁿",
         "🫠", "🪿", "☎", "♟️", "🀄", "©"]
PUNCTUATION = [*"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", *"…—«»„、。！‘’·¿€→∑≠▁Ġ"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'rE", "'ſ", "’s", "'x"]
CODE = ["for (int i = 0; i < n; i++) {\n\t\tx[i] += 3.14e-10;\n\t}\n",
        "def f(x):\n    return x**2\n",
        "#include <stdio.h>\r\n", "https://example.org/a?b=c&d=%20#e", "{\"a\": [1, 2.50, null]}",
        "SELECT * FROM t WHERE a='b';", "\\frac{\\alpha}{2}", "<div class=\"x\">&nbsp;</div>",
        "0xDEADBEEF", "1,234,567.89", "camelCaseHTTPServer", "snake_case_2", "a//b\\n/*c*/ ../"]
SPECIAL = ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|start|>",
           "<|channel|>", "<|return|>", "<|endoftext", "<0x41>", "<0xFF>"]

# unicode.c tells why: the one assigned character whose category differs, in \p{Mn} and \p{Mc}.
KNOWN_DIFFERENCE = 0x1171E


def assigned_characters():
    """Without what came after Unicode 16, which the tokenizers do not know and libraries may."""
    newest = int(unicodedata.unidata_version.split(".", maxsplit=1)[0])
    category = (unicodedata if newest <= 16 else unicodedata.ucd_3_2_0).category
    return [c for c in range(0x110000) if category(chr(c)) not in ("Cn", "Cs", "Co")]


class Writer:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.assigned = assigned_characters()
        self.pieces = [self.word, self.word, self.mixed_word, self.marked, self.digits, self.spaces,
                       self.any_characters, self.repeated, self.odd] + [
            lambda source=source: self.random.choice(source)
            for source in (EMOJI, PUNCTUATION, CONTRACTIONS, CODE, SPECIAL)]

    def character(self, ranges):
        """Holes of a range are characters too: unassigned ones."""
        return chr(self.random.randint(*self.random.choice(ranges)))

    def word(self):
        script = [self.random.choice(SCRIPTS)]
        return "".join(self.character(script) for _ in range(self.random.randint(1, 9)))

    def mixed_word(self):
        word = "".join(self.random.choice("abcdefghijklmnopqrstuvwxyzäßéñçøığ")
                       for _ in range(self.random.randint(1, 10)))
        return self.random.choice([word, word.upper(), word.title(), " " + word])

    def marked(self):
        """Marks in any order, after letters that they compose with and others."""
        base = self.random.choice("aeouAがかกनαи한ᄒ1")
        return base + "".join(self.character(MARKS) for _ in range(self.random.randint(1, 4)))

    def digits(self):
        return "".join(self.random.choice(DIGITS) for _ in range(self.random.randint(1, 8)))

    def spaces(self):
        return "".join(self.random.choice(SPACES) for _ in range(self.random.randint(1, 5)))

    def any_characters(self):
        count = self.random.randint(1, 6)
        return "".join(chr(c) for c in self.random.choices(self.assigned, k=count))

    def repeated(self):
        piece = self.random.choice(["a", " ", "\n", "ab", "-", "=", "哈", "0", "\t", "é", "!?", "▁"])
        return piece * self.random.randint(2, 40)

    def odd(self):
        """Controls, private use, characters that are none."""
        return self.random.choice("\0\x01\x7f\xad\ue000\ufdd0\ufffd\uffff\U000f0000\U0010ffff"
                                  "\u200d\u200e\ufe0f")

    def text(self):
        count = self.random.choice([0, 1, 1, 2, 3, 4, 6, 9, 15])
        text = "".join(self.random.choice(self.pieces)() for _ in range(count))
        return text.replace(chr(KNOWN_DIFFERENCE), "")


def run_tool(program, tokenizer, texts):
    lines = "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts)
    done = subprocess.run([program, tokenizer], input=lines.encode(), capture_output=True,
                          check=False)
    expect(done.returncode == 0, done.stderr.decode())
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(texts, theirs, ours):
    expect(len(theirs) == len(texts) == len(ours), f"{len(ours)} answers to {len(texts)} texts")
    different = [i for i, ids in enumerate(theirs) if ids != ours[i]]
    if different:
        first = min(different, key=lambda i: len(texts[i]))
        expect(False, f"{len(different)} of {len(texts)} texts differ, the shortest is "
                      f"{ascii(texts[first][:SHOWN])}: {theirs[first][:SHOWN]}, "
                      f"in libawq {ours[first][:SHOWN]}")
    return f"{sum(len(ids) for ids in theirs)} ids of {len(texts)} texts are the same"


def with_one_changed(answers):
    """The last id of the first answer that has any."""
    changed = next(i for i, ids in enumerate(answers) if ids)
    return [ids[:-1] + [ids[-1] ^ 1] if i == changed else ids for i, ids in enumerate(answers)]


def check_model(report, program, name, texts):
    path = os.path.join(DATA, f"{name}-tiny", "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    ours = report.get(name, run_tool, program, path, texts)
    if not ours:
        return
    for which, special in enumerate((False, True)):
        theirs = [tokenizer.encode(text, add_special_tokens=special).ids for text in texts]
        mine = [ids[which] for ids in ours]
        report.check(f"{name}, special tokens {'added' if special else 'not added'}", compare,
                     texts, theirs, mine)
        # That the comparison notices.
        report.must_fail(f"{name}: one id changed", compare, texts, theirs, with_one_changed(mine))


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    program = os.path.join(sys.argv[1], "tests", "conformance", "tokenize")
    writer = Writer(int(sys.argv[2]) if len(sys.argv) == 3 else SEED)
    report = Report()
    texts = [writer.text() for _ in range(TEXTS)]
    for name in MODELS:
        with open(os.path.join(DATA, f"{name}-tiny", "eval.txt"), encoding="utf-8") as file:
            texts.append(file.read())
    print(f"{len(texts)} texts with {len(set(''.join(texts)))} different characters")
    for name in MODELS:
        check_model(report, program, name, texts)
    return report.close("tokens")


if __name__ == "__main__":
    sys.exit(main())
