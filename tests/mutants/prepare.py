"""Makes the copy of a source that mutmut can work on. Pure: text goes in, text comes out that does the same.

mutmut 3 chooses between the original and a mutant when a function is called, and leaves alone what has decorators: most
validators of policies and all properties. Their bodies are lifted into plain functions that they call. Sentences for
people become f-strings, which mutmut does not touch: they are no rules, and a test that repeats them proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import libcst as cst
import libcst.matchers as m

LIFTED = "lifted_"
_SENTENCE = re.compile(r"[^\W\d_]+,? [^\W\d_]+")
_TAKEN_BY_MUTMUT = {"staticmethod", "classmethod"}
_BOUND = m.Call(func=m.Name("super"), args=[]) | m.Name("__class__")
"""What means something else outside the class."""


def prepared(source: str) -> str:
    """The source with decorated functions lifted and sentences out of reach."""
    module = cst.parse_module(source)
    taken: set[str] = set()
    body: list[Statement] = []
    for statement in module.body:
        lifted, rest = _lift(statement, taken)
        body += [*lifted, rest]
    return module.with_changes(body=body).visit(_Sentences()).code


Statement = cst.SimpleStatementLine | cst.BaseCompoundStatement


def _lift(statement: Statement, taken: set[str]) -> tuple[list[cst.FunctionDef], Statement]:
    """Functions that stand before a statement from now on, and what is left of it."""
    if isinstance(statement, cst.FunctionDef) and _can_be_lifted(statement):
        name = _name(statement.name.value, taken)
        return [_lifted(statement, name)], _calling(statement, name)
    if not isinstance(statement, cst.ClassDef) or not isinstance(statement.body, cst.IndentedBlock):
        return [], statement
    functions: list[cst.FunctionDef] = []
    members: list[cst.BaseStatement | cst.BaseSmallStatement] = []
    for member in statement.body.body:
        if isinstance(member, cst.FunctionDef) and _can_be_lifted(member):
            name = _name(f"{statement.name.value}_{member.name.value}", taken)
            functions.append(_lifted(member, name))
            members.append(_calling(member, name))
        else:
            members.append(member)
    return functions, statement.with_changes(body=statement.body.with_changes(body=members))


def _name(wanted: str, taken: set[str]) -> str:
    """A name that is free: a property and its setter have the same."""
    name, number = LIFTED + wanted, 1
    while name in taken:
        name, number = f"{LIFTED}{wanted}_{number + 1}", number + 1
    taken.add(name)
    return name


def _can_be_lifted(function: cst.FunctionDef) -> bool:
    names = [decorator.decorator for decorator in function.decorators]
    if not names or (len(names) == 1 and isinstance(names[0], cst.Name) and names[0].value in _TAKEN_BY_MUTMUT):
        return False
    private = m.Attribute(attr=m.Name(m.MatchIfTrue(lambda name: name.startswith("__") and not name.endswith("__"))))
    return isinstance(function.body, cst.IndentedBlock) and not m.findall(function.body, _BOUND | private)


def _lifted(function: cst.FunctionDef, name: str) -> cst.FunctionDef:
    """The same body as a plain function; default values and types stay where they were."""
    parameters = cst.Parameters(
        params=[cst.Param(name) for name in _names(_plain(function.params))],
        star_arg=_bare(function.params.star_arg) or cst.MaybeSentinel.DEFAULT,
        star_kwarg=_bare(function.params.star_kwarg),
    )
    return function.with_changes(
        name=cst.Name(name), params=parameters, decorators=[], returns=None,
        leading_lines=[cst.EmptyLine(), cst.EmptyLine()],
    )  # fmt: skip


def _calling(function: cst.FunctionDef, name: str) -> cst.FunctionDef:
    """The function with its decorators, which only calls the lifted one."""
    arguments = [cst.Arg(name) for name in _names(_plain(function.params))]
    if (every := _bare(function.params.star_arg)) is not None:
        arguments.append(cst.Arg(every.name, star="*"))
    if (named := _bare(function.params.star_kwarg)) is not None:
        arguments.append(cst.Arg(named.name, star="**"))
    call: cst.BaseExpression = cst.Call(cst.Name(name), arguments)
    generates = bool(m.findall(function.body, m.Yield()))
    asynchronous = function.asynchronous
    if asynchronous is not None and generates:
        asynchronous = None  # calling the lifted one makes the generator
    elif asynchronous is not None:
        call = cst.Await(call)
    body = cst.IndentedBlock([cst.SimpleStatementLine([cst.Return(call)])])
    return function.with_changes(body=body, asynchronous=asynchronous)


def _plain(parameters: cst.Parameters) -> Sequence[cst.Param]:
    return [*parameters.posonly_params, *parameters.params, *parameters.kwonly_params]


def _names(parameters: Sequence[cst.Param]) -> list[cst.Name]:
    return [cst.Name(parameter.name.value) for parameter in parameters]


def _bare(parameter: object) -> cst.Param | None:
    return cst.Param(cst.Name(parameter.name.value)) if isinstance(parameter, cst.Param) else None


class _Sentences(cst.CSTTransformer):
    """Turns string literals of several words into f-strings without a field."""

    def visit_Annotation(self, node: cst.Annotation) -> bool:
        return False

    def visit_MatchValue(self, node: cst.MatchValue) -> bool:
        return False

    def visit_Expr(self, node: cst.Expr) -> bool:
        return not isinstance(node.value, cst.SimpleString | cst.ConcatenatedString)  # a docstring stays one

    def leave_SimpleString(self, original: cst.SimpleString, updated: cst.SimpleString) -> cst.BaseExpression:
        prefix, quote = original.prefix.lower(), original.quote
        text = original.raw_value
        if prefix not in {"", "r"} or len(quote) > 1 or "\\N" in text or not _SENTENCE.search(text):
            return updated
        whole = f"{prefix}f{quote}{text.replace('{', '{{').replace('}', '}}')}{quote}"
        return cst.parse_expression(whole)
