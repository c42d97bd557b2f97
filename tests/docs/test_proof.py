"""The proof of docs/exact-arithmetic.md has this code's constants, and computes what it does."""

import math
import re
import shutil
import subprocess
from itertools import product

import numpy as np
import pytest

from mlp import arithmetic
from mlp.arithmetic import MOST_TERMS, SMALLEST_UNIT, Exact, operand_bits
from tests.support.networks import dot
from tests.support.project import ROOT

PROOF = ROOT / "proof" / "exact.v"
exact = Exact()

needs_coq = pytest.mark.skipif(not shutil.which("coqc"), reason="needs Coq and Flocq")


def test_constants_are_those_of_the_code():
    text = PROOF.read_text(encoding="utf-8")
    found = dict(re.findall(r"^Notation ([A-Z_]+) := \(?([-\d *^]+)\)?%Z\.", text, re.MULTILINE))
    values = {name: eval(term.replace("^", "**")) for name, term in found.items()}
    assert len(values) == 6
    values["LARGEST"] = 2.0 ** values["LARGEST"]
    assert values == {name: getattr(arithmetic, name) for name in values}


STATED = "Theorem same_bits l w v : sum_of_code l ->"
BEGIN = "Proof. intros C W V. apply code_exact in C."
BOTH = f"{STATED}|{BEGIN}"
PRINT = "Print Assumptions"
AXIOM = "Module Classical_Prop. Conjecture classic : False. End Classical_Prop."
UNCHECKED = "#[bypass_check(guard)] Fixpoint f (n : nat) : False := f n."


def with_premise(premise: str) -> str:
    """Return the pieces `BOTH` of a theorem that is true under a premise alone."""
    return f"{STATED.replace(': ', f': {premise} -> ')}|{BEGIN.replace('C', '_ C', 1)}"


# What becomes of pieces of the proof, and words of what `make proof` then says
MUTANTS = {
    "without the theorem": (STATED, STATED.replace("same", "other"), "same_bits was not found"),
    "of a false premise": (BOTH, with_premise("0 = 1"), "theorem.v"),
    "of empty sums": (BOTH, with_premise("l = []"), "theorem.v"),
    "of ten terms": ("(count l <= MOST_TERMS /\\ e", "(count l <= 10 /\\ e", "theorem.v"),
    "of an axiom with the name of another, with a gap, and without a check": (
        f"{BOTH}|{PRINT}",
        f"{AXIOM}\n{BOTH} assert (false := Classical_Prop.classic).|"
        f"Lemma gap : 0 = 1. Admitted. {UNCHECKED} {PRINT}",
        "exact.Classical_Prop.classic",
        "exact.gap",
        "exact.f\n",
    ),
}


@pytest.mark.slow
@needs_coq
@pytest.mark.parametrize("mutant", MUTANTS)
def test_make_proof_refuses_another_theorem_gaps_and_assumptions(tmp_path, mutant):
    old, new, *said = MUTANTS[mutant]
    for name in ("Makefile", "repository.mk"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "proof", tmp_path / "proof")
    text = PROOF.read_text(encoding="utf-8")
    for piece, other in zip(old.split("|"), new.split("|"), strict=True):
        assert piece in text
        text = text.replace(piece, other)
    (tmp_path / "proof" / "exact.v").write_text(text, encoding="utf-8")
    done = subprocess.run(["make", "proof"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode
    assert all(words in done.stdout + done.stderr for words in said), done


HEADER = """
From Coq Require Import ZArith List Lia.
From Flocq Require Import Core BinarySingleNaN.
Require Import exact.
Import ListNotations.
Open Scope Z_scope.
Definition number (m e : Z) : float := binary_normalize 53 1024 _ _ mode_NE m e false.
Definition sign (s : bool) := if s then -1 else 1.
Definition shown (x : float) :=
  match x with B754_zero s => (sign s, 0, 0) | B754_finite s m e _ => (sign s, Zpos m, e)
  | _ => (0, 0, 0) end.
Lemma fewer_bits n m : n <= m -> operand_bits m <= operand_bits n.
Proof.
  intros H. apply Z.min_le_compat_l, Z.div_le_mono, Z.sub_le_mono_l, Z.log2_up_le_mono; lia.
Qed.
Definition products n l e f := map (fun p => Product (grid (fst p) n e) (grid (snd p) n f)) l.
Definition sum_of := fold_right Add (Number (B754_zero false)).
Definition fuse w v := match w with Product x y => Fma x y v | _ => Add w v end.
Definition fused := fold_right fuse (Number (B754_zero false)).
"""


def coq(x: float) -> str:
    """Return a number as a term of Coq."""
    if x == 0.0:
        return f"(B754_zero {str(math.copysign(1, x) < 0).lower()})"
    mantissa, exponent = math.frexp(x)
    return f"(number ({int(mantissa * 2**53)}) ({exponent - 53}))"


@pytest.mark.slow
@needs_coq
def test_definitions_compute_what_the_code_computes(tmp_path):
    rng = np.random.default_rng(0)
    expected: dict[str, float] = {}

    # Grids: the bound, a tie, any number, zeros and a denormal number
    for bits, exponent in product([16, 18, 21, 40, 51], [480, 20, 1, 0, -3, -400, -495, -600]):
        bound = math.ldexp(1.0, max(exponent, SMALLEST_UNIT))
        unit = max(exponent - bits, SMALLEST_UNIT)
        tie = math.ldexp(int(rng.integers(-(2**16), 2**16)) + 0.5, unit)
        for x in (bound, -bound, tie, *(rng.uniform(-1, 1, 5) * bound).tolist(), 0.0, -0.0, 5e-324):
            if abs(x) <= bound:
                rounded = exact.grid(np.array([x]), bits, exponent)
                expected[f"grid {coq(x)} {bits} ({exponent})"] = rounded[0]

    # Sums and norms: the grid of their terms; one of them is not 0
    for n in (1, 2, 3, 4, 5, 7, 8, 1000, 1023, 1024):
        x = np.zeros((n, 1))
        x[-1] = -rng.uniform(0.5, 1)
        expected[f"grid {coq(x[-1, 0])} (sum_bits {n}) 0"] = exact.sum(x, exponent=0)
        square = f"multiply {coq(x[-1, 0])} {coq(x[-1, 0])}"
        expected[f"Bsqrt mode_NE (grid ({square}) (sum_bits {n}) 0)"] = exact.norms(x)[0]

    # Products: with and without fused additions
    for n in (1, 2, 3, 40):
        a, b = rng.normal(size=(1, n)), 1e-3 * rng.normal(size=(n, 1))
        both = zip(a[0].tolist(), b[:, 0].tolist(), strict=True)
        pairs = "; ".join(f"({coq(x)}, {coq(y)})" for x, y in both)
        e, f = exact.exponent(a), exact.exponent(b)
        terms = f"(products (operand_bits {n}) [{pairs}] ({e}) ({f}))"
        for way in ("sum_of", "fused"):
            expected[f"result ({way} {terms})"] = dot(exact, a, b)[0, 0]

    # Bits for every number of terms. More terms have no more bits (`fewer_bits`), so the ends of
    # each run are enough.
    bits = [operand_bits.__wrapped__(n) for n in range(MOST_TERMS + 1)]
    inner = range(1, MOST_TERMS)
    ends = [0, *(n for n in inner if not bits[n - 1] == bits[n] == bits[n + 1]), MOST_TERMS]
    at_ends = f"map (fun n => (n, operand_bits n)) [{';'.join(map(str, ends))}]"

    shutil.copy(PROOF, tmp_path)
    text = f"{HEADER}Eval vm_compute in {at_ends}.\n"
    text += f"Eval vm_compute in map shown [{';'.join(expected)}].\n"
    (tmp_path / "check.v").write_text(text, encoding="utf-8")
    for file in ("exact.v", "check.v"):
        done = subprocess.run(["coqc", file], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    texts = re.sub(r"\s+", " ", done.stdout).split(" = ")[1:]
    lists = [re.findall(r"\(([-\d, ]+)\)", text) for text in texts]
    bits_found, found = ([[*map(int, group.split(","))] for group in groups] for groups in lists)
    assert bits_found == [[n, bits[n]] for n in ends]
    for (sign, mantissa, exponent), (term, value) in zip(found, expected.items(), strict=True):
        assert sign * math.ldexp(mantissa, exponent) == value, term
        assert sign == math.copysign(1, value), term
