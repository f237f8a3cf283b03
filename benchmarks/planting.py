"""Errors that people make in a loss, planted one at a time into the syntax tree of a function."""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Change = tuple[str, ast.expr]  # a kind, and what stands where an expression stood
REDUCTIONS = {"sum": "mean", "mean": "sum", "amax": "amin", "max": "min", "any": "all", "argmax": "argmin"}
OVER_ALL = {"weighted_mean", "mean_or_zero"}  # the averages of losses/targets.py, whose wrong reduction is a sum
WITH_DIM = {
    *REDUCTIONS, "softmax", "log_softmax", "normalize", "cosine_similarity", "flip", "logcumsumexp", "gather",
    "scatter", "argsort", "flatten", "vector_norm",
}  # fmt: skip
STEPS = {"square", "abs", "sqrt", "rsqrt", "relu", "exp", "log", "log2", "sigmoid", "clamp_min", "flip", "floor"}
SYMMETRIC = {"smooth_l1_loss", "box_iou"}  # whose first two arguments may change places
FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A function with one error. `kind` is the error's, `before` and `after` the expression without and with it."""

    function: str
    kind: str
    line: int  # of the file
    before: str
    after: str
    source: str  # of the whole function

    @property
    def name(self) -> str:
        return f"{self.function}: {self.before} -> {self.after}"


def functions(source: str, method: str | None = None) -> dict[str, ast.FunctionDef]:
    """The functions of a module by name; with `method`, instead, the methods of that name, by Class.method."""
    found: dict[str, ast.FunctionDef] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and method is None:
            found[node.name] = node
        if isinstance(node, ast.ClassDef) and method is not None:
            own = (each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == method)
            found |= {f"{node.name}.{each.name}": each for each in own}
    return found


def plant(name: str, function: ast.FunctionDef) -> Iterator[Mutant]:
    """Every error that has a place in the function. First one that stops it: who survives that is never called."""
    stop = ast.parse("raise AssertionError('called')").body
    yield _mutant(name, "stopped", function, function.name, "raise", {id(function.body): stop})
    if len(names := [each.arg for each in function.args.args if each.arg != "self"]) > 1:
        body = [_exchanged(each, *names[:2]) for each in function.body]
        yield _mutant(name, "swapped arguments", function, *_pair(names), {id(function.body): body})
    yield from _defaults(name, function)
    seen = {ast.unparse(function)}
    for node in _expressions(function):
        for kind, other in (change for each in CHANGES for change in each(node)):
            mutant = _mutant(name, kind, node, ast.unparse(node), ast.unparse(other), {id(node): other}, function)
            if mutant.source not in seen:
                seen.add(mutant.source)
                yield mutant


def _defaults(name: str, function: ast.FunctionDef) -> Iterator[Mutant]:
    arguments = function.args
    last = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    places, values = [*last, *arguments.kwonlyargs], [*arguments.defaults, *arguments.kw_defaults]
    for argument, value in zip(places, values, strict=True):
        if value is not None and (other := _other_number(value)):
            before, after = (f"{argument.arg}={ast.unparse(each)}" for each in (value, other))
            yield _mutant(name, "constant", value, before, after, {id(value): other}, function)


def _mutant(
    name: str, kind: str, at: ast.expr | ast.FunctionDef, before: str, after: str, memo: dict[int, object],
    function: ast.FunctionDef | None = None,
) -> Mutant:  # fmt: skip
    whole = function or at
    assert isinstance(whole, ast.FunctionDef)
    return Mutant(name, kind, at.lineno, before, after, ast.unparse(copy.deepcopy(whole, memo)))


def _expressions(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """Those of the body; annotations are no mathematics."""
    for root in function.body:
        if isinstance(root, ast.Expr) and isinstance(root.value, ast.Constant):
            continue  # the docstring
        inner = (node for node in ast.walk(root) if isinstance(node, ast.FunctionDef))
        shapes = {id(node) for each in inner for node in ast.walk(each.args)}
        shapes |= {id(node) for each in ast.walk(root) if isinstance(each, ast.FunctionDef) for node in _told(each)}
        yield from (node for node in ast.walk(root) if isinstance(node, ast.expr) and id(node) not in shapes)


def _told(function: ast.FunctionDef) -> Iterator[ast.AST]:
    if function.returns is not None:
        yield from ast.walk(function.returns)


def _exchanged(statement: ast.stmt, one: str, other: str) -> ast.stmt:
    changed = copy.deepcopy(statement)
    swap = {one: other, other: one}
    for node in ast.walk(changed):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            node.id = swap.get(node.id, node.id)
    return changed


def _pair(names: list[str]) -> tuple[str, str]:
    return f"({names[0]}, {names[1]})", f"({names[1]}, {names[0]})"


def _called(node: ast.expr) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)


def _with_function(call: ast.Call, name: str) -> ast.Call:
    assert isinstance(call.func, ast.Attribute)
    return ast.Call(ast.Attribute(call.func.value, name, ast.Load()), call.args, call.keywords)


def _reduction(node: ast.expr) -> Iterator[Change]:
    name = _called(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and name in REDUCTIONS:
        yield "reduction", _with_function(node, REDUCTIONS[name])
    if isinstance(node, ast.Call) and name in OVER_ALL:
        whole = node.args[0] if len(node.args) == 1 else ast.BinOp(node.args[0], ast.Mult(), node.args[1])
        yield "reduction", ast.Call(ast.Attribute(whole, "sum", ast.Load()), [], [])
    if isinstance(node, ast.Constant) and node.value in ("batchmean", "sum"):
        yield "reduction", ast.Constant("mean")


def _dim(node: ast.expr) -> Iterator[Change]:
    if not isinstance(node, ast.Call) or _called(node) not in WITH_DIM:
        return
    for place, argument in enumerate(node.args):
        for other in _other_dims(argument):
            yield "dim", ast.Call(node.func, [*node.args[:place], other, *node.args[place + 1 :]], node.keywords)
    for place, keyword in enumerate(node.keywords):
        for other in _other_dims(keyword.value) if keyword.arg == "dim" else ():
            changed = ast.keyword("dim", other)
            yield "dim", ast.Call(node.func, node.args, [*node.keywords[:place], changed, *node.keywords[place + 1 :]])


def _other_dims(argument: ast.expr) -> Iterator[ast.expr]:
    match ast.unparse(argument):
        case "0":
            yield ast.Constant(-1)
        case "-1" | "1" | "2":
            yield ast.Constant(0)
        case "(1, 2, 3)":
            yield ast.Tuple([ast.Constant(1), ast.Constant(2)], ast.Load())


def _arithmetic(node: ast.expr) -> Iterator[Change]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield "sign", node.operand
    if not isinstance(node, ast.BinOp):
        return
    match node.op:
        case ast.Add() | ast.Sub():
            yield "sign", ast.BinOp(node.left, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), node.right)
            yield "dropped term", node.left
            yield "dropped term", node.right
        case ast.Mult():
            kind = "missing T^2" if ast.unparse(node.left) == "temperature ** 2" else "dropped factor"
            yield kind, node.right
            yield "dropped factor", node.left
        case ast.Div() | ast.Pow():
            yield "dropped factor", node.left
        case ast.MatMult():
            yield "swapped arguments", ast.BinOp(node.right, node.op, node.left)


def _detach(node: ast.expr) -> Iterator[Change]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "detach":
        yield "detach removed", node.func.value


def _swap(node: ast.expr) -> Iterator[Change]:
    if not isinstance(node, ast.Call) or _called(node) in SYMMETRIC or len(node.args) < 2:
        return
    if not any(isinstance(each, ast.Starred) for each in node.args):
        yield "swapped arguments", ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)


def _step(node: ast.expr) -> Iterator[Change]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in STEPS:
        of_library = ast.unparse(node.func.value) in ("torch", "F", "math")
        yield "dropped step", node.args[0] if of_library else node.func.value


def _constant(node: ast.expr) -> Iterator[Change]:
    """A number among what an expression is made of, so that the message shows where it stands."""
    for child in () if isinstance(node, ast.UnaryOp) else ast.iter_child_nodes(node):
        number = child.value if isinstance(child, ast.keyword) else child
        if other := _other_number(number):
            yield "constant", copy.deepcopy(node, {id(number): other})


def _other_number(node: ast.AST) -> ast.expr | None:
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as number) if other := _other_number(number):
            return ast.UnaryOp(ast.USub(), other)
        case ast.Constant(value=float(value)):
            return ast.Constant(2 * value or 1.0)
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return ast.Constant(value + 1)
    return None


def _comparison(node: ast.expr) -> Iterator[Change]:
    if isinstance(node, ast.Compare) and (other := FLIPPED.get(type(node.ops[0]))):
        yield "sign", ast.Compare(node.left, [other()], node.comparators)


CHANGES: tuple[Callable[[ast.expr], Iterator[Change]], ...] = (
    _reduction, _dim, _arithmetic, _detach, _swap, _step, _constant, _comparison,
)  # fmt: skip
