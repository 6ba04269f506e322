"""What a text says its answer is. Every search is linear in the length of the text, because models
write megabytes of anything."""

import re

LONGEST = 256
"""Characters of an answer that are still read; parsing more can take minutes."""

CLOSING = ("</think>", "</reason>", "<answer>")
"""Tags after which an answer stands where there is no box."""

ANSWER_IS = re.compile(r"answer\**(?:\s+is|\s*:|\s*=)[\s:*]*", re.IGNORECASE)
SENTENCE_END = re.compile(r"\.(?:\s|$)")
WRAPPER = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|operatorname|rm|bf)\s*\{([^{}]*)\}")


def last_boxed(text: str) -> str | None:
    """What stands between the braces of the last \\boxed{...}; None without one, or with
    unbalanced braces."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for i in range(start + len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start + len("\\boxed{") : i].strip()
    return None


def final_answer(text: str, read: str) -> str | None:
    """The answer of a text.

    read=boxed: the last box, or None. read=any: the last box, else what follows the last
    "answer is" or "answer:" behind the reasoning, up to the end of its sentence, else everything
    behind the reasoning.
    """
    boxed = last_boxed(text)
    if boxed is not None or read == "boxed":
        return boxed
    tail = text[max(text.rfind(tag) + len(tag) if tag in text else 0 for tag in CLOSING) :]
    tail = tail.removesuffix("</answer>")
    said = [match.end() for match in ANSWER_IS.finditer(tail)]
    if said:
        line = tail[said[-1] :].partition("\n")[0]
        return SENTENCE_END.split(line, maxsplit=1)[0].strip(" *")
    return tail.strip()


def unwrapped(text: str) -> str:
    """Without dollar signs, stars and \\text{...} around words."""
    return WRAPPER.sub(r"\1", text).replace("$", "").replace("*", "").strip()


LETTER = r"([A-Za-z])"
ALONE = re.compile(rf"\W*{LETTER}\W*")
LABEL = re.compile(rf"\W?(?:[Oo]ption|[Cc]hoice)?\s?\(?{LETTER}\s?[).:](?!\w)|\({LETTER}\)")
NAMED = re.compile(r"(?:[Oo]ption|[Cc]hoice)(?:\sis)?:?\s\(?([A-Z])\b|\(([A-Z])\)")
SEVERAL = re.compile(r"[,;&\s]+(?:and\s+)?")


def letters_of(answer: str, count: int) -> frozenset[str]:
    """The option letters that an answer names, empty where it names none of the first `count`.

    B, (B), B., \\text{B}, B. words, (B) words, option B, and lists: A, C and AC. Only the first
    and the last line of an answer are read.
    """
    lines = [line for line in unwrapped(answer).splitlines() if line.strip()]
    allowed = frozenset(chr(ord("A") + i) for i in range(count))
    for line in dict.fromkeys(lines[:1] + lines[-1:]):
        found = letters_in(line.strip()[:LONGEST])
        if found and found <= allowed:
            return found
    return frozenset()


def letters_in(line: str) -> frozenset[str]:
    if alone := ALONE.fullmatch(line):
        return frozenset(alone[1].upper())
    words = SEVERAL.split(line.strip("(){}[]. "))
    if all(len(word) == 1 for word in words) or (line.isalpha() and line.isupper()):
        return frozenset("".join(words).upper())
    named = LABEL.match(line) or next(iter(reversed([*NAMED.finditer(line)])), None)
    return frozenset((named[1] or named[2]).upper()) if named else frozenset()
