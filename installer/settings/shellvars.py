"""Parses files of shell assignments, without executing them.

The grammar is the part of sh(1) ("Shell Command Language", IEEE Std 1003.1, 2.2 quoting and 2.6
expansions) that assigns variables. Commands are errors.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from node.text import printable

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?=)")
_EXPORTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?![^\s;])")
_DEFAULT = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:?=)")
_ALTERNATIVE = re.compile(r":?-")
_BRACES = "only these forms of ${...} are supported: ${VAR}, ${VAR:-value} and ${VAR-value}"
_WORD_END = " \t\n;"
_OPERATORS = "|&()<>"
_ESCAPED_IN_DOUBLE_QUOTES = '$`"\\'
_NOTHING: Mapping[str, str] = MappingProxyType({})


def parse(text: str, *, origin: str, known: Mapping[str, str] = _NOTHING) -> dict[str, str]:
    """Parses the assignments of a shell-style file.

    Args:
        text: the whole file.
        origin: the name of the file in errors.
        known: variables that were set before this file, for `$VAR`, `${VAR:=value}` and the like.

    Returns:
        The variables that this file sets, each with its last value.

    Raises:
        ValueError: "<origin>, line <n>: <why>": something is not an assignment.
    """
    return _Scanner(text, origin, known).run()


def lines(text: str, *, known: Mapping[str, str] = _NOTHING) -> dict[str, int]:
    """The lines, from 1 on, where the variables of a file get their last values.

    Args:
        text: as for `parse`.
        known: as for `parse`.

    Raises:
        ValueError: as `parse`.
    """
    scanner = _Scanner(text, "", known)
    scanner.run()
    return scanner.lines


@dataclass
class _Scanner:
    text: str
    origin: str
    known: Mapping[str, str]
    at: int = 0
    found: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def run(self) -> dict[str, str]:
        for odd, what in (("\r", "a carriage return (the file has DOS line ends)"), ("\0", "NUL")):
            if odd in self.text:
                raise self._error(what, self.text.index(odd))
        while self.at < len(self.text):
            self._skip_blanks()
            self._command()
            self._skip_blanks()
            self._end_of_command()
        return self.found

    def _error(self, why: str, place: int | None = None) -> ValueError:
        line = self._line(self.at if place is None else place)
        return ValueError(f"{self.origin}, line {line}: {printable(why)}")

    def _line(self, place: int) -> int:
        return self.text.count("\n", 0, place) + 1

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _skip_blanks(self) -> None:
        """Skips blanks, continued lines, and a comment, which begins where a word could."""
        while True:
            if self._peek() in (" ", "\t"):
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            else:
                break
        if self._peek() == "#":
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end

    def _end_of_command(self) -> None:
        if self._peek() == ";":
            self.at += 1
            self._skip_blanks()
            if self._peek() == ";":
                raise self._error("';' without an assignment before it")
        elif self._peek() == "\n":
            self.at += 1

    def _command(self) -> None:
        if self._peek() in ("", "\n"):
            return
        if self._peek() == ";":
            raise self._error("';' without an assignment before it")
        exported = self._keyword("export")
        if not exported and self._keyword(":"):
            self._defaults()
            return
        while self._peek() not in ("", "\n", ";"):
            if exported and (match := _EXPORTED.match(self.text, self.at)):
                self.at = match.end()
            else:
                self._assignment()
            self._skip_blanks()

    def _keyword(self, word: str) -> bool:
        end = self.at + len(word)
        follows = self.text[end : end + 1]
        if not self.text.startswith(word, self.at) or follows not in ("", *_WORD_END):
            return False
        self.at = end
        self._skip_blanks()
        return True

    def _assignment(self) -> None:
        match = _ASSIGNMENT.match(self.text, self.at)
        if match is None:
            word = re.split(r"[\s;]", self.text[self.at :], maxsplit=1)[0]
            raise self._error(
                f"'{word}' is not an assignment: only KEY=value is allowed, commands are not run"
            )
        if match[2] == "+=":
            raise self._error(f'{match[1]}+= is not supported: write {match[1]}="${match[1]}..."')
        self.lines[match[1]] = self._line(self.at)
        self.at = match.end()
        self.found[match[1]] = self._word(_WORD_END)

    def _defaults(self) -> None:
        """Parses the words after `:`, each `${KEY:=value}` or `"${KEY:=value}"`."""
        while self._peek() not in ("", "\n", ";"):
            start = self.at
            quoted = self._peek() == '"'
            self.at += quoted
            match = _DEFAULT.match(self.text, self.at)
            if match is None:
                raise self._error("only ${KEY:=value} may follow ':'", start)
            name, operator = match[1], match[2]
            self.at = match.end()
            value = self._double_quoted("}", start) if quoted else self._word("}", start)
            closing = '}"' if quoted else "}"
            if not self.text.startswith(closing, self.at):
                raise self._error("${ without a closing }", start)
            self.at += len(closing)
            if self._peek() not in ("", *_WORD_END):
                raise self._error("only ${KEY:=value} may follow ':'", start)
            before = self.found.get(name, self.known.get(name))
            if before is None or (operator == ":=" and not before):
                self.found[name] = value
                self.lines[name] = self._line(start)
            self._skip_blanks()

    def _word(self, ends: str, start: int | None = None) -> str:
        """Parses an unquoted word with its quoted parts, up to (without) one of `ends`."""
        in_braces = ends == "}"
        parts: list[str] = []
        # A shell expands ~ at the start of a value and after each colon.
        tilde_counts = True
        while (char := self._peek()) and char not in ends:
            if char == "~" and tilde_counts:
                raise self._error("~ is not expanded: write the path, or quote it")
            continued = self.text.startswith("\\\n", self.at)
            tilde_counts = char == ":" or (tilde_counts and continued)
            if char == "'":
                parts.append(self._single_quoted())
            elif char == '"':
                opened = self.at
                self.at += 1
                parts.append(self._double_quoted('"', opened))
                self.at += 1
            elif char == "\\":
                parts.append(self._escaped())
            elif char == "$":
                parts.append(self._variable(quoted=False))
            elif char == "`":
                raise self._error("command substitution is not run")
            elif char in _OPERATORS and not in_braces:
                raise self._error(f"'{char}' is not part of an assignment: quote it")
            else:
                parts.append(char)
                self.at += 1
        if in_braces and not char:
            raise self._error("${ without a closing }", start)
        return "".join(parts)

    def _escaped(self) -> str:
        """Parses an unquoted backslash and the character after it; "" for a continued line."""
        protected = self.text[self.at + 1 : self.at + 2]
        if not protected:
            raise self._error("the file ends with a backslash")
        self.at += 2
        return "" if protected == "\n" else protected

    def _single_quoted(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise self._error("a ' without a closing '")
        value = self.text[self.at + 1 : end]
        self.at = end + 1
        return value

    def _double_quoted(self, end: str, opened: int) -> str:
        """Parses the inside of double quotes, up to (without) `end`, a quote or a closing brace."""
        parts: list[str] = []
        while (char := self._peek()) != end:
            if not char:
                raise self._error('a " without a closing "', opened)
            if end == "}" and char in "'\"":
                raise self._error(f'shells differ in what {char} inside "${{...}}" means')
            if char == "\\":
                following = self.text[self.at + 1 : self.at + 2]
                self.at += 2
                if following == "\n":
                    continue
                protects = following in _ESCAPED_IN_DOUBLE_QUOTES or following == end
                parts.append(following if protects else "\\" + following)
            elif char == "$":
                parts.append(self._variable(quoted=True))
            elif char == "`":
                raise self._error("command substitution is not run")
            else:
                parts.append(char)
                self.at += 1
        return "".join(parts)

    def _variable(self, *, quoted: bool) -> str:
        """Parses `$VAR`, `${VAR}`, `${VAR:-value}`, `${VAR-value}`, or a literal `$`."""
        start = self.at
        self.at += 1
        char = self._peek()
        if char in ("(", "["):
            raise self._error("command substitution and arithmetic are not run", start)
        braced = char == "{"
        self.at += braced
        match = NAME.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
            if not braced and self.text.startswith("\\\n", self.at):
                raise self._error(f"the line ends inside ${match[0]}: write ${{{match[0]}}}", start)
            value = self.found.get(match[0], self.known.get(match[0]))
            if braced and (operator := _ALTERNATIVE.match(self.text, self.at)):
                self.at = operator.end()
                word = self._double_quoted("}", start) if quoted else self._word("}", start)
                if value is None or (operator[0] == ":-" and not value):
                    value = word
            if braced and self._peek() != "}":
                raise self._error(_BRACES, start)
            self.at += braced
            return value or ""
        if braced:
            raise self._error(_BRACES, start)
        if char and (char.isdigit() or char in "@*#?-$!"):
            raise self._error(f"${char} is not supported", start)
        if self.text.startswith("\\\n", self.at):
            raise self._error("the line ends after $", start)
        if char and char in "'\"" and not quoted:
            raise self._error(f"shells differ in what $ before {char} means: quote it", start)
        return "$"
