(* What exact.v proves, in full, in the words of Flocq's definitions alone: `make proof`. Each definition of exact.v must
   be the one that stands here, or Coq refuses the proofs below. *)
Require exact.
From Coq Require Import Reals ZArith List Permutation Lia Lra.
From Flocq Require Import Core BinarySingleNaN.
Import ListNotations.
Open Scope R_scope.
Notation float := (binary_float 53 1024).

(* What the machine computes, in any order, with any brackets, fused or not; and the terms. *)
Fixpoint result (w : exact.way) : float :=
  match w with
  | exact.Number x => x | exact.Product x y => Bmult mode_NE x y
  | exact.Add w v => Bplus mode_NE (result w) (result v) | exact.Fma x y w => Bfma mode_NE x y (result w)
  end.
Fixpoint terms (w : exact.way) : list (float * float) :=
  match w with
  | exact.Number x => [(x, Bone)] | exact.Product x y => [(x, y)]
  | exact.Add w v => terms w ++ terms v | exact.Fma x y w => (x, y) :: terms w
  end.
Definition true_sum : list (float * float) -> R := fold_right (fun p s => B2R (fst p) * B2R (snd p) + s) 0.
Definition zero (p : float * float) :=
  is_finite (fst p) = true /\ is_finite (snd p) = true /\ B2R (fst p) * B2R (snd p) = 0.
Definition adds (l : list (float * float)) (w : exact.way) :=
  exists y z, Forall zero y /\ Forall zero z /\ Permutation (y ++ l) (z ++ terms w).
(* Two ways give the true sum, and the same bits, but for the sign of a zero. *)
Definition is (r : R) (x : float) := is_finite x = true /\ B2R x = r.
Definition same_bits (l : list (float * float)) := forall w v, adds l w -> adds l v ->
  is (true_sum l) (result w) /\ (result w = result v \/ (is 0 (result w) /\ is 0 (result v))).

(* The grid, the bits, and the bounds of mlp/arithmetic.py. *)
Definition unit (e b : Z) : Z := Z.max (e - b) (-500).
Definition grid (x : float) (b e : Z) : float :=
  let r := binary_normalize 53 1024 _ _ mode_NE (3 * 2 ^ 51) (unit e b) false in
  Bminus mode_NE (Bplus mode_NE x r) r.
Definition operand_bits (n : Z) : Z := Z.min 21 ((53 - Z.log2_up (Z.max (n - 1) 0 + 1)) / 2).
Definition sum_bits (n : Z) : Z := 53 - Z.max (Z.log2_up (n + 1)) 2.
Definition bounded (e : Z) (x : float) := is_finite x = true /\ Rabs (B2R x) <= bpow radix2 (Z.max e (-500)).
Definition on_grid (u b : Z) (x : float) :=
  is_finite x = true /\ (exists m : Z, B2R x = IZR m * bpow radix2 u) /\ Rabs (B2R x) <= bpow radix2 (b + u).
Notation count l := (Z.of_nat (length l)).

Ltac same A B := try (replace A with B by reflexivity).
Ltac same_words := (* the definitions are those of exact.v *)
  same grid exact.grid; same operand_bits exact.operand_bits; same sum_bits exact.sum_bits;
  same bounded exact.bounded; same on_grid exact.on_grid; unfold same_bits, adds;
  same zero exact.zero; same is exact.is; same result exact.result; same terms exact.terms;
  same true_sum (exact.sum exact.value).
Theorem products : forall l e f, (count l <= 2 ^ 21 /\ e <= 480 /\ f <= 480)%Z ->
  Forall (fun p => bounded e (fst p) /\ bounded f (snd p)) l ->
  let b := operand_bits (count l) in same_bits (map (fun p => (grid (fst p) b e, grid (snd p) b f)) l).
Proof. same_words. exact (fun l e f n B w v => exact.same_bits _ w v (exact.dot l e f n B)). Qed.
Theorem products_of_bytes : forall l u a f, (count l <= 2 ^ 21 /\ f <= 480 /\ -500 <= u <= 0 /\ a <= 16)%Z ->
  Forall (fun p => on_grid u a (fst p) /\ bounded f (snd p)) l ->
  let b := operand_bits (count l) in same_bits (map (fun p => (fst p, grid (snd p) b f)) l).
Proof. same_words. exact (fun l u a f n B w v => exact.same_bits _ w v (exact.bytes l u a f n B)). Qed.
Theorem sums : forall l e, (count l < 2 ^ 53 /\ e <= 480)%Z -> Forall (bounded e) l ->
  let b := sum_bits (count l) in same_bits (map (fun x => (grid x b e, Bone)) l).
Proof. same_words. exact (fun l e n B w v => exact.same_bits _ w v (exact.sums l e n B)). Qed.

(* Sums at the bounds, 2^21 products of numbers up to 2^480: from the left without fused operations, from the right with
   them. Such a sum is there: 2^21 times the largest number squared. *)
Notation nothing := (exact.Number (B754_zero false)).
Definition left := fold_right (fun p w => exact.Add w (exact.Product (fst p) (snd p))) nothing.
Definition right := fold_right (fun p w => exact.Fma (fst p) (snd p) w) nothing.
Lemma adds_all l way : Permutation (l ++ [(B754_zero false, Bone)]) (terms way) -> adds l way.
Proof. intros P. exists [(B754_zero false, Bone)], []. split; [|split; [easy|]].
  - constructor; [|easy]. repeat split. simpl. ring.
  - apply Permutation_trans with (2 := P), Permutation_app_comm.
Qed.
Lemma left_adds l : adds l (left l).
Proof. apply adds_all. induction l as [|p l IH]; [easy|]. simpl.
  apply Permutation_trans with (2 := Permutation_cons_append _ _). destruct p. now constructor.
Qed.
Lemma right_adds l : adds l (right l).
Proof. apply adds_all. induction l as [|p l IH]; [easy|]. destruct p. now constructor. Qed.
Theorem at_the_bounds l : count l = (2 ^ 21)%Z -> Forall (fun p => bounded 480 (fst p) /\ bounded 480 (snd p)) l ->
  let g := map (fun p => (grid (fst p) 16 480, grid (snd p) 16 480)) l in
  is_finite (result (left g)) = true /\ (result (left g) = result (right g) \/ is 0 (result (left g))).
Proof. intros N B g. assert (S := products l 480 480). rewrite N in S. change (operand_bits _) with 16%Z in S.
  destruct (S ltac:(lia) B (left g) (right g) (left_adds g) (right_adds g)) as [[F _] E]. tauto.
Qed.
Definition largest : float := @B754_finite 53 1024 false 4503599627370496 428 eq_refl.
Theorem such_a_sum : exists l, count l = (2 ^ 21)%Z /\ Forall (fun p => bounded 480 (fst p) /\ bounded 480 (snd p)) l.
Proof. assert (B : bounded 480 largest).
  { split; [easy|]. unfold largest, B2R, F2R. cbn [Fnum Fexp cond_Zopp].
    change (IZR 4503599627370496) with (bpow radix2 52). rewrite <- bpow_plus, Rabs_pos_eq by apply bpow_ge_0.
    apply bpow_le. easy. }
  generalize (2 ^ 21)%Z (eq_refl : (0 <=? 2 ^ 21)%Z = true). intros n N. exists (repeat (largest, largest) (Z.to_nat n)).
  split; [rewrite repeat_length; apply Z2Nat.id; lia|]. apply Forall_forall. intros p P. apply repeat_spec in P. now subst.
Qed.
