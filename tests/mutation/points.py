"""Finds the mutants of a text, and writes the text with all of them in it at once.

A mutant is one change of one token, statement or returned value. `Text.schema` gives the text in which each is chosen when the program
runs: every point is an expression that computes its operands once and asks `QEMB_MUTANT(number)` (mutant.h) which of its two forms is
wanted. Where no expression can stand (constants of a declaration, labels, static initialisers) a mutant has no such form and is compiled
alone; so is one whose form the compiler refuses (build.py asks it).

The ends of an operand are found by the precedence of operators over the tokens. That sources are clang-formatted is what tells
a binary operator (space on both sides) from a unary one, and a compound literal `(T){` from a block `) {`.
"""
import re

RELATIONAL = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "%": "*", "<<": ">>", ">>": "<<", "&": "|", "|": "&", "^": "&",
              "+=": "-=", "-=": "+=", "*=": "+=", "|=": "&=", "&=": "|=", "++": "--", "--": "++"}
LOGICAL = {"&&": "||", "||": "&&"}
TOKEN = re.compile(r"(?P<number>0[xX][0-9a-fA-F]+[uUlL]*|(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?f?|\d+(?:[eE][-+]?\d+)?[uUlLf]*)"
                   r"|(?P<word>[A-Za-z_]\w*)"
                   r"|(?P<op><<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%<>&|!^])"
                   r"|(?P<other>\S)")
WHOLE = re.compile(r"(?P<comment>/\*.*?\*/|//[^\n]*)|(?P<literal>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
                   r"|(?P<number>0[xX][0-9a-fA-F.]+(?:[pP][-+]?\d+)?[uUlLfF]*|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?[uUlLfF]*)"
                   r"|(?P<word>[A-Za-z_]\w*)"
                   r"|(?P<op><<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%<>&|!^~=])"
                   r"|(?P<joint>\\\n)|(?P<other>\S)", re.S)
LITERALS = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
PRECEDENCE = {"*": 10, "/": 10, "%": 10, "+": 9, "-": 9, "<<": 8, ">>": 8, "<": 7, "<=": 7, ">": 7, ">=": 7, "==": 6, "!=": 6,
              "&": 5, "^": 4, "|": 3, "&&": 2, "||": 1}
UNARY, ASSIGNED = 11, 0
STOPS = {"return", "case", "goto", "else", "do", "if", "for", "while", "switch", "break", "default", "const", "static"}


class Mutant:
    def __init__(self, path, line, column, kind, start, end, text):
        self.path, self.line, self.column, self.kind = path, line, column, kind
        self.start, self.end, self.text = start, end, text
        self.number = 0  # in the build that holds all; 0: compiled alone
        self.edits = None  # of its run-time form: (where, order, text or (end, text))

    @property
    def name(self):
        return f"{self.path}:{self.line}:{self.column}:{self.kind}"


def blank(match):
    return re.sub(r"[^\n]", " ", match.group())


def preprocessor_spans(code, kernel):
    """Where nothing is changed: preprocessor lines; in kernels a #define's body is code."""
    spans, at = [], 0
    while at < len(code):
        end = code.find("\n", at)
        end = len(code) if end < 0 else end
        line = code[at:end]
        if line.lstrip().startswith("#"):
            while code[at:end].endswith("\\") and end < len(code):
                following = code.find("\n", end + 1)
                end = len(code) if following < 0 else following
            define = kernel and re.match(r"\s*#\s*define\s+\w+(\([^)]*\))?", code[at:end])
            spans.append((at, at + define.end() if define else end))
        at = end + 1
    return spans


def statements(code, inside):
    """Whole-line statements that may be taken out: calls and assignments, not declarations."""
    for match in re.finditer(r"^([ \t]+)((?:\(void\))?[A-Za-z_][\w\->.\[\]*]*\s*(?:\(|=[^=]|[-+|&*/]=|\+\+|--)[^;{}\n]*;)[ \t]*$", code, re.M):
        first = re.match(r"(?:\(void\))?([A-Za-z_]\w*)", match.group(2)).group(1)
        if first not in ("return", "if", "for", "while", "switch", "case", "typedef", "goto", "break") and not inside(match.start(2)):
            kind = "barrier" if first == "barrier" else "statement"
            yield match.start(2), match.end(2), ";", kind


def tokens(code, inside):
    """(start, end, replacement, operator) for every token that has one."""
    before = None
    for match in TOKEN.finditer(code):
        text, start = match.group(), match.start()
        binary = before is not None and (before.lastgroup in ("number", "word") or before.group() in (")", "]"))
        before, previous = match, before
        if inside(start):
            continue
        if match.lastgroup == "op":
            if text in RELATIONAL:
                yield start, match.end(), RELATIONAL[text], "relational"
            elif text in LOGICAL:
                yield start, match.end(), LOGICAL[text], "logical"
            elif text == "!":
                yield start, match.end(), "", "logical"
            elif text in ("*", "&") and code[match.end():match.end() + 1].strip():
                continue  # a pointer or an address: binary operators stand between spaces
            elif text in ARITHMETIC and (binary or text in ("++", "--")) and not (previous and previous.group() in ("return", "case")):
                yield start, match.end(), ARITHMETIC[text], "arithmetic"
        elif match.lastgroup == "number" and not (previous and previous.group() in (".", "_")):
            if re.fullmatch(r"\d+", text):
                yield start, match.end(), str(int(text) + 1), "one"
            elif re.fullmatch(r"\d+\.\d*f?", text):
                yield start, match.end(), f"({text} + 1.0f)", "one"
        elif match.lastgroup == "word" and text in ("true", "false"):
            yield start, match.end(), "false" if text == "true" else "true", "value"


def returns(code, inside):
    for match in re.finditer(r"\breturn\s+([^;{}\n]+);", code):
        value = match.group(1).strip()
        if inside(match.start()) or re.fullmatch(r"[-\d\"]+|NULL|true|false|QEMB_OK", value):
            continue
        new = "QEMB_OK" if value == "st" or value.startswith("qemb__fail") else "0"
        yield match.start(1), match.end(1), new, "returned"


class Token:
    def __init__(self, match, text):
        self.kind, self.text, self.start, self.end = match.lastgroup, match.group(), match.start(), match.end()
        self.after_space = self.start == 0 or text[self.start - 1].isspace()
        self.before_space = self.end == len(text) or text[self.end].isspace()


class Text:
    """A source file: its mutants, and the text that holds all of them."""

    def __init__(self, path, text):
        self.path, self.text = str(path), text
        self.kernel = self.path.startswith("kernels_cl")
        code = LITERALS.sub(blank, text)
        self.spans = preprocessor_spans(code, self.kernel)
        self.mutants = self.find(code)

    def inside(self, at):
        return any(a <= at < b for a, b in self.spans)

    def find(self, code):
        found = {}
        for source in (tokens(code, self.inside), statements(code, self.inside), returns(code, self.inside)):
            for start, end, new, kind in source:
                line = self.text.count("\n", 0, start) + 1
                column = start - (self.text.rfind("\n", 0, start) + 1) + 1
                mutant = Mutant(self.path, line, column, kind, start, end, new)
                found.setdefault(mutant.name, mutant)
        return list(found.values())

    # ---- tokens, brackets, and what cannot be chosen when the program runs ----------------------------------------------------------

    def lex(self):
        self.tokens = [Token(m, self.text) for m in WHOLE.finditer(self.text)
                       if m.lastgroup not in ("comment", "joint") and not self.inside(m.start())]
        self.at = {t.start: i for i, t in enumerate(self.tokens)}
        self.match, open_ones = {}, []
        closes = {")": "(", "]": "[", "}": "{"}
        for i, t in enumerate(self.tokens):
            if t.text in ("(", "[", "{"):
                open_ones.append(i)
            elif t.text in closes and open_ones and self.tokens[open_ones[-1]].text == closes[t.text]:
                self.match[i] = open_ones.pop()
                self.match[self.match[i]] = i
        self.fixed = self.fixed_tokens()

    def fixed_tokens(self):
        """Tokens of constants: file scope, initialisers there, static declarations, labels, enumerations."""
        fixed, i, n = set(), 0, len(self.tokens)
        while i < n:  # file scope: only the bodies of functions are code
            t = self.tokens[i]
            if t.text == "{" and i > 0 and self.tokens[i - 1].text == ")" and t.after_space and i in self.match:
                self.fixed_in_body(i, self.match[i], fixed)
                i = self.match[i]
            else:
                fixed.add(i)
            i += 1
        return fixed

    def fixed_in_body(self, first, last, fixed):
        ends = {"static": (";",), "case": (":",), "enum": (";", "{"), "_Static_assert": (";",)}
        i = first
        while i < last:
            word = self.tokens[i].text
            if word in ends:
                while i < last and self.tokens[i].text not in ends[word]:
                    fixed.add(i)
                    i += 1
                if self.tokens[i].text == "{":
                    fixed.update(range(i, self.match[i]))
            i += 1

    def binary(self, i):
        t = self.tokens[i]
        return t.text in PRECEDENCE and t.after_space and t.before_space

    def left(self, i, precedence):
        """The first token of the operand that ends before token i."""
        j = i - 1
        while j >= 0:
            t = self.tokens[j]
            if t.text in (")", "]") or (t.text == "}" and j in self.match and self.literal(self.match[j])):
                if j not in self.match:
                    break
                m = self.match[j]
                if t.text == ")" and m > 0 and self.tokens[m - 1].text in ("if", "for", "while", "switch"):
                    break
                j = m - 1
            elif t.kind == "word" and t.text in STOPS:
                break
            elif t.kind in ("word", "number", "literal") or t.text == ".":
                j -= 1
            elif t.kind == "op" and (PRECEDENCE[t.text] >= precedence if self.binary(j) else self.prefix(t)):
                j -= 1
            else:
                break
        return j + 1

    def prefix(self, t):
        return t.text in ("->", "++", "--", "!", "~", "-", "+", "*", "&")

    def literal(self, i):
        """Is this brace that of a compound literal?"""
        return i > 0 and self.tokens[i - 1].text == ")" and not self.tokens[i].after_space

    def right(self, i, precedence):
        """The last token of the operand that begins behind token i."""
        j = i + 1
        while j < len(self.tokens):
            t = self.tokens[j]
            if t.text in ("(", "[") or (t.text == "{" and self.literal(j)):
                if j not in self.match:
                    break
                j = self.match[j] + 1
            elif t.kind == "word" and t.text in STOPS:
                break
            elif t.kind in ("word", "number", "literal") or t.text == ".":
                j += 1
            elif precedence == ASSIGNED and t.text in ("?", ":"):
                j += 1
            elif t.kind == "op" and (PRECEDENCE[t.text] > precedence if self.binary(j) else self.prefix(t)):
                j += 1
            else:
                break
        return j - 1

    def postfix_operand(self, i):
        """The first token of what a ++ behind it, at token i, changes."""
        j = i - 1
        while j >= 0:
            t = self.tokens[j]
            if t.text == "]" and j in self.match:
                j = self.match[j] - 1
            elif t.kind == "word" and j > 0 and self.tokens[j - 1].text in (".", "->"):
                j -= 2
            elif t.text == ")" and j in self.match:
                m = self.match[j]
                if m > 0 and (self.tokens[m - 1].kind == "word" and self.tokens[m - 1].text not in STOPS) and not self.tokens[m].after_space:
                    j = m - 1
                    continue
                return m
            else:
                return j
        return 0

    # ---- the run-time form ----------------------------------------------------------------------------------------------------------

    def form(self, m):
        """Edits of a mutant's run-time form, as pieces (start, end, open text, close text) and replacements; None: it has none."""
        i = self.at.get(m.start)
        if i is None or i in self.fixed:
            return None
        n = m.number
        token = self.tokens[i]
        if m.kind in ("statement", "barrier"):
            return self.statement_form(m, i, n)
        if m.kind == "returned":
            return [("around", m.start, m.end, f"({{ __auto_type r{n}_ = (", f"); QEMB_MUTANT_IF({n}, r{n}_ != 0) ? 0 : r{n}_; }})")]
        if m.kind == "value":
            return [("around", m.start, m.end, "(", f" ^ QEMB_MUTANT({n}))")]
        if m.kind == "one":
            return [("around", m.start, m.end, "(", f" + QEMB_MUTANT({n}))")]
        if token.text == "!":
            end = self.tokens[self.right(i, UNARY)].end
            return [("replace", m.start, m.end, ""),
                    ("around", m.start, end, f"({{ bool x{n}_ = (", f"); QEMB_MUTANT({n}) ? x{n}_ : !x{n}_; }})")]
        if token.text in ("++", "--"):
            return self.step_form(m, i, n)
        if token.text.endswith("=") and token.text not in RELATIONAL:
            first, last = self.left(i, UNARY), self.right(i, ASSIGNED)
            if first == i or last == i:
                return None
            change = "if (QEMB_MUTANT({0})) {{ *p{0}_ {1} y{0}_; }} else {{ *p{0}_ {2} y{0}_; }}".format(n, m.text, token.text)
            return [("around", self.tokens[first].start, self.tokens[last].end, f"({{ __auto_type p{n}_ = &(", f"); {change} *p{n}_; }})"),
                    ("replace", m.start, m.end, f"); __auto_type y{n}_ = (")]
        if not self.binary(i):  # a minus behind a cast
            if token.text != "-":
                return None
            end = self.tokens[self.right(i, UNARY)].end
            return [("replace", m.start, m.end, ""),
                    ("around", m.start, end, f"({{ __auto_type x{n}_ = (", f"); QEMB_MUTANT({n}) ? x{n}_ : -x{n}_; }})")]
        return self.binary_form(m, i, n)

    def binary_form(self, m, i, n):
        token = self.tokens[i]
        precedence = PRECEDENCE[token.text]
        first, last = self.left(i, precedence), self.right(i, precedence)
        if first == i or last == i:
            return None
        start, end = self.tokens[first].start, self.tokens[last].end
        if token.text in LOGICAL:
            relation = "!=" if token.text == "&&" else "=="
            return [("around", start, end, f"({{ bool x{n}_ = (", f")); }} x{n}_; }})"),
                    ("replace", m.start, m.end, f"); if (x{n}_ {relation} QEMB_MUTANT({n})) {{ x{n}_ = ((bool)(")]
        if token.text in RELATIONAL and not self.kernel:
            change = f"const int r{n}_ = x{n}_ {token.text} y{n}_, s{n}_ = x{n}_ {m.text} y{n}_; QEMB_MUTANT_IF({n}, s{n}_ != r{n}_) ? s{n}_ : r{n}_;"
        else:
            change = f"__auto_type r{n}_ = x{n}_ {token.text} y{n}_; if (QEMB_MUTANT({n})) {{ r{n}_ = x{n}_ {m.text} y{n}_; }} r{n}_;"
        return [("around", start, end, f"({{ __auto_type x{n}_ = (", f"); {change} }})"),
                ("replace", m.start, m.end, f"); __auto_type y{n}_ = (")]

    def step_form(self, m, i, n):
        token = self.tokens[i]
        following = self.tokens[i + 1] if i + 1 < len(self.tokens) else None
        if not token.after_space and i > 0 and (self.tokens[i - 1].kind == "word" or self.tokens[i - 1].text in (")", "]")):
            start = self.tokens[self.postfix_operand(i)].start
            change = f"QEMB_MUTANT({n}) ? (*p{n}_){m.text} : (*p{n}_){token.text};"
            return [("around", start, token.end, f"({{ __auto_type p{n}_ = &(", f"); {change} }})"), ("replace", m.start, m.end, "")]
        if following is None or token.before_space:
            return None
        end = self.tokens[self.right(i, UNARY)].end
        change = f"QEMB_MUTANT({n}) ? {m.text}*p{n}_ : {token.text}*p{n}_;"
        return [("replace", m.start, m.end, ""), ("around", m.start, end, f"({{ __auto_type p{n}_ = &(", f"); {change} }})")]

    def statement_form(self, m, i, n):
        before = self.tokens[i - 1]
        text = self.text[m.start:m.end]
        if before.text not in (";", "{", "}", ":") and before.text != "else" and not (before.text == ")" and not self.call(i - 1)):
            return None
        if "){" in text and "&(" in text and re.match(r"[\w.>\[\]*-]+\s*=", text):
            return None  # a literal whose address outlives the braces
        return [("around", m.start, m.end, f"{{ if (!QEMB_MUTANT({n})) {{ ", " } }")]

    def call(self, i):
        """Does this bracket close a call, and not a condition?"""
        m = self.match.get(i, 0)
        return m == 0 or self.tokens[m - 1].text not in ("if", "for", "while", "switch")

    def schema(self, numbers, refused=frozenset()):
        """The text with the mutants that `numbers` names (name -> number) chosen at run time; (text, places of the points in it)."""
        self.lex()
        pieces = []  # (where, order, text, mutant): closings before openings at one place, inner before outer closings, outer before inner openings
        for m in self.mutants:
            m.number = numbers.get(m.name, 0)
            form = self.form(m) if m.number and m.name not in refused else None
            m.edits = form
            for edit in form or ():
                if edit[0] == "around":
                    _, start, end, opening, closing = edit
                    size = end - start
                    rank = {"statement": 3, "barrier": 3, "returned": 2}.get(m.kind, 1)
                    pieces.append((start, 1, -size, -rank, m.start, opening, None, m))
                    pieces.append((end, 0, size, rank, -m.start, closing, None, m))
                else:
                    _, start, end, new = edit
                    pieces.append((start, 2, 0, 0, 0, new, end, m))
        pieces.sort(key=lambda p: p[:5])
        out, at, length, places = [], 0, 0, {}
        for where, _, _, _, _, new, end, m in pieces:
            out.append(self.text[at:where])
            length += where - at
            first, last = places.get(m.name, (length, length))
            out.append(new)
            length += len(new)
            places[m.name] = (min(first, length - len(new)), max(last, length))
            at = end if end is not None else where
        out.append(self.text[at:])
        return "".join(out), places

    def alone(self, m):
        """The text with this one mutant: an operator keeps the operands that it had, whatever binds them now."""
        self.lex() if not hasattr(self, "tokens") else None
        i = self.at.get(m.start)
        new = self.text[:m.start] + m.text + self.text[m.end:]
        if i is None or not self.tokens[i].text in ("&&", "||", "&", "|", "%", "^") or not self.binary(i):
            return new if self.tokens[i].text != "!" else self.negated(m, i)
        precedence = PRECEDENCE[self.tokens[i].text]
        first, last = self.left(i, precedence), self.right(i, precedence)
        if first == i or last == i:
            return new
        a, b = self.tokens[first].start, self.tokens[last].end
        return f"{self.text[:a]}(({self.text[a:m.start]}) {m.text} ({self.text[m.end:b]})){self.text[b:]}"

    def negated(self, m, i):
        end = self.tokens[self.right(i, UNARY)].end
        return f"{self.text[:m.start]}(!!({self.text[m.end:end]})){self.text[end:]}"
