"""Vectors of sixteen points, written as LLVM instructions for Numba's compiler.

LLVM does not vectorize these kernels by itself, which makes them four times slower. A vector of 16 is one
register with AVX-512, two with AVX2, four with NEON; LLVM splits it as the machine needs.
"""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportReturnType=false
# pyright: reportCallIssue=false
# llvmlite has no annotations: its builder seems to return None, its values seem to lack a type.
from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

LANES = 16
I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
PAIR = ir.VectorType(F32, 2)  # the two features of a table entry
FLOATS, INTS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)


class Lanes:
    """Sixteen float32 or uint32, with the operators of one."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value

    @property
    def real(self) -> bool:
        """Whether the lanes are float32; otherwise they are uint32."""
        return self.value.type.element == F32

    def like(self, number: float) -> Lanes:
        """The same number in all lanes."""
        return Lanes(self.builder, ir.Constant(self.value.type, [number] * LANES))

    def _binary(self, other: Lanes, real: str, integer: str) -> Lanes:
        operation = getattr(self.builder, real if self.real else integer)
        return Lanes(self.builder, operation(self.value, other.value))

    def __add__(self, other: Lanes) -> Lanes:
        return self._binary(other, "fadd", "add")

    def __sub__(self, other: Lanes) -> Lanes:
        return self._binary(other, "fsub", "sub")

    def __mul__(self, other: Lanes) -> Lanes:
        return self._binary(other, "fmul", "mul")

    def __xor__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.xor(self.value, other.value))

    def __and__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.and_(self.value, other.value))

    def below(self, limit: Lanes) -> ir.Value:
        """Return the mask of the lanes that are less than those of `limit`; NaN never is."""
        compare = self.builder.fcmp_ordered if self.real else self.builder.icmp_unsigned
        return compare("<", self.value, limit.value)

    def where(self, mask: ir.Value, other: Lanes) -> Lanes:
        """Return these lanes where the mask is true, those of `other` elsewhere."""
        return Lanes(self.builder, self.builder.select(mask, self.value, other.value))

    def at_least(self, low: Lanes) -> Lanes:
        """NaN stays NaN."""
        return low.where(self.below(low), self)

    def at_most(self, high: Lanes) -> Lanes:
        """NaN stays NaN."""
        return high.where(high.below(self), self)

    def times_plus(self, factor: Lanes, summand: Lanes) -> Lanes:
        """Return self * factor + summand, rounded once."""
        return Lanes(self.builder, _call(self.builder, "llvm.fma.v16f32", FLOATS, self, factor, summand))

    def floor(self) -> Lanes:
        """Round each lane down to a whole number, still float32."""
        return Lanes(self.builder, _call(self.builder, "llvm.floor.v16f32", FLOATS, self))

    def whole(self) -> Lanes:
        """As integers; NaN and what is negative become zero."""
        zero = self.like(0.0)
        positive = self.where(zero.below(self), zero)
        return Lanes(self.builder, self.builder.fptosi(positive.value, INTS))


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, *arguments: Lanes) -> ir.Value:
    values = [argument.value for argument in arguments]
    kind = ir.FunctionType(result, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)


class Plane:
    """A contiguous float32 array of Numba's with two axes: its rows hold one number of each point."""

    def __init__(self, context, builder: ir.IRBuilder, kind, array: ir.Value) -> None:
        view = context.make_array(kind)(context, builder, array)
        self.builder, self.pointer = builder, view.data
        self.columns = cgutils.unpack_tuple(builder, view.shape)[1]

    def _at(self, row: int | ir.Value, column: ir.Value) -> ir.Value:
        row = I64(row) if isinstance(row, int) else row
        first = self.builder.add(self.builder.mul(self.columns, row), column)
        return self.builder.bitcast(self.builder.gep(self.pointer, [first]), FLOATS.as_pointer())

    def load(self, row: int | ir.Value, column: ir.Value) -> Lanes:
        """Load sixteen numbers of a row, from `column` on."""
        return Lanes(self.builder, self.builder.load(self._at(row, column), align=4))

    def store(self, row: int | ir.Value, column: ir.Value, lanes: Lanes) -> None:
        """Store sixteen numbers in a row, from `column` on."""
        self.builder.store(lanes.value, self._at(row, column), align=4)


def splat(builder: ir.IRBuilder, number: ir.Value) -> Lanes:
    """One number in all lanes."""
    kind = ir.VectorType(number.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), number, I32(0))
    return Lanes(builder, builder.shuffle_vector(one, one, ir.Constant(INTS, [0] * LANES)))


def shuffle(a: Lanes, b: Lanes, order: list[int]) -> Lanes:
    """Lanes of `a` (0..15) and `b` (16..31)."""
    return Lanes(a.builder, a.builder.shuffle_vector(a.value, b.value, ir.Constant(INTS, order)))


def gather_pairs(table: Plane, index: Lanes) -> tuple[Lanes, Lanes]:
    """Both features of sixteen table entries.

    Sixteen loads of eight bytes each: no slower than a gather instruction, which some CPUs run in
    microcode.
    """
    builder = index.builder
    eight = ir.DoubleType()  # stands for the pair, so that a load is one move
    entries = builder.bitcast(table.pointer, eight.as_pointer())
    halves = []
    for half in (0, LANES // 2):
        pairs = ir.Constant(ir.VectorType(eight, LANES // 2), ir.Undefined)
        for lane in range(LANES // 2):
            entry = builder.zext(builder.extract_element(index.value, I32(half + lane)), I64)
            pairs = builder.insert_element(
                pairs, builder.load(builder.gep(entries, [entry]), align=4), I32(lane)
            )
        halves.append(Lanes(builder, builder.bitcast(pairs, FLOATS)))
    return shuffle(*halves, list(range(0, 32, 2))), shuffle(*halves, list(range(1, 32, 2)))


def scatter_pairs(table: Plane, corners: list[tuple[Lanes, Lanes, Lanes]]) -> None:
    """Add a pair to each of sixteen table entries, for each of several (index, first, second).

    Lanes are added one after the other, so that several may name the same entry; sums have one order.
    """
    builder = corners[0][0].builder
    indices = cgutils.alloca_once(builder, INTS, size=len(corners))
    values = cgutils.alloca_once(builder, FLOATS, size=2 * len(corners))
    zipped = [lane for pair in zip(range(LANES), range(LANES, 2 * LANES), strict=True) for lane in pair]
    for k, (index, first, second) in enumerate(corners):
        builder.store(index.value, builder.gep(indices, [I64(k)]))
        for half in (0, 1):
            mixed = shuffle(first, second, zipped[half * LANES : half * LANES + LANES])
            builder.store(mixed.value, builder.gep(values, [I64(2 * k + half)]))
    indices = builder.bitcast(indices, I32.as_pointer())
    values, entries = (builder.bitcast(p, PAIR.as_pointer()) for p in (values, table.pointer))
    with cgutils.for_range(builder, I64(LANES)) as loop:
        for k in range(len(corners)):
            at = builder.add(loop.index, I64(LANES * k))
            entry = builder.gep(entries, [builder.zext(builder.load(builder.gep(indices, [at])), I64)])
            value = builder.load(builder.gep(values, [at]), align=4)
            builder.store(builder.fadd(builder.load(entry, align=4), value), entry, align=4)
