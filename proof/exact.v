(* The proof of docs/exact-arithmetic.md, for Coq 8.20 with Flocq 4.2: `make proof`. Z has the integers, R the reals. A
   `float` is a binary64 of IEEE 754: infinities, NaN, +0 and −0 are among them. B2R x is x as a real number. *)
From Coq Require Import Reals ZArith List Permutation Lia Lra.
From Flocq Require Import Core BinarySingleNaN.
Import ListNotations.
Open Scope R_scope.
#[global] Instance precision : Prec_gt_0 53 := eq_refl.
#[global] Instance range : Prec_lt_emax 53 1024 := eq_refl.
Notation float := (binary_float 53 1024).
Notation pow2 := (bpow radix2).

(** * The definitions of mlp/arithmetic.py. tests/docs/test_proof.py compares them with the code. *)
Notation OPERAND_BITS := 21%Z.
Notation MOST_TERMS := (2 ^ 21)%Z.
Notation SIGNIFICAND_BITS := 53%Z.
Notation SMALLEST_UNIT := (-500)%Z.
Notation LARGEST := 480%Z. (* its exponent: in the code it is 2^480 *)
Notation ROUND_TO_INTEGER := (3 * 2 ^ 51)%Z.
(* Each operation rounds its result once, to the nearest float, ties to even. fma x y z is x y + z. *)
Definition add : float -> float -> float := Bplus mode_NE.
Definition subtract : float -> float -> float := Bminus mode_NE.
Definition multiply : float -> float -> float := Bmult mode_NE.
Definition fma : float -> float -> float -> float := Bfma mode_NE.
Definition bit_length (n : Z) : Z := Z.log2_up (n + 1).
Definition operand_bits (terms : Z) : Z :=
  Z.min OPERAND_BITS ((SIGNIFICAND_BITS - bit_length (Z.max (terms - 1) 0)) / 2).
Definition sum_bits (terms : Z) : Z := SIGNIFICAND_BITS - Z.max (bit_length terms) 2.
Definition unit (exponent bits : Z) : Z := Z.max (exponent - bits) SMALLEST_UNIT.
Definition rounder (u : Z) : float := binary_normalize 53 1024 _ _ mode_NE ROUND_TO_INTEGER u false.
Definition grid (x : float) (bits exponent : Z) : float :=
  let r := rounder (unit exponent bits) in subtract (add x r) r.

(** * A sum of products, and the ways to compute it *)
(* A way has an order, brackets and fused multiply-adds; a division into parts is one. A number x is x times 1. *)
Inductive way := Number (x : float) | Product (x y : float) | Add (w v : way) | Fma (x y : float) (w : way).

Fixpoint result (w : way) : float := (* what the machine computes *)
  match w with
  | Number x => x | Product x y => multiply x y
  | Add w v => add (result w) (result v) | Fma x y w => fma x y (result w)
  end.
Definition one : float := Bone. (* 1.0 *)
Fixpoint terms (w : way) : list (float * float) :=
  match w with
  | Number x => [(x, one)] | Product x y => [(x, y)]
  | Add w v => terms w ++ terms v | Fma x y w => (x, y) :: terms w
  end.
Definition value (p : float * float) : R := B2R (fst p) * B2R (snd p).
Definition sum (f : float * float -> R) : list (float * float) -> R := fold_right (fun p s => f p + s) 0.
Notation total := (sum value).
Notation size := (sum (fun p => Rabs (value p))).
Notation count l := (Z.of_nat (length l)).

(* The same terms in any order. Terms that are zero may be left out, or added. *)
Definition zero (p : float * float) := is_finite (fst p) = true /\ is_finite (snd p) = true /\ value p = 0.
Definition same_terms (l k : list (float * float)) :=
  exists y z, Forall zero y /\ Forall zero z /\ Permutation (y ++ l) (z ++ k).
(* A sum is exact if every way to compute it gives the true sum. *)
Definition is (r : R) (x : float) := is_finite x = true /\ B2R x = r.
Definition exact (l : list (float * float)) := forall w, same_terms l (terms w) -> is (total l) (result w).

(** * One operation *)
Definition rnd : R -> R := round radix2 (SpecFloat.fexp 53 1024) ZnearestE.
Definition rounds_to (z r : R) := rnd r = z /\ Rabs z < pow2 1024.
(* IEEE 754: each operation gives the true result, rounded, if that does not overflow. *)
Ltac standard law :=
  generalize law; repeat match goal with H : is _ _ |- _ => destruct H as [? <-] end; cbv zeta;
  match goal with H : rounds_to _ _ |- _ => destruct H as [<- ?] end; rewrite Rlt_bool_true by assumption;
  intros [E [F _]]; split; [exact F || now apply (eq_trans F), andb_true_intro|exact E].
Lemma add_is x y r s z (X : is r x) (Y : is s y) : rounds_to z (r + s) -> is z (add x y).
Proof. intros. standard (Bplus_correct 53 1024 _ _ mode_NE x y (proj1 X) (proj1 Y)). Qed.
Lemma subtract_is x y r s z (X : is r x) (Y : is s y) : rounds_to z (r - s) -> is z (subtract x y).
Proof. intros. standard (Bminus_correct 53 1024 _ _ mode_NE x y (proj1 X) (proj1 Y)). Qed.
Lemma multiply_is x y r s z (X : is r x) (Y : is s y) : rounds_to z (r * s) -> is z (multiply x y).
Proof. intros. standard (Bmult_correct 53 1024 _ _ mode_NE x y). Qed.
Lemma fma_is x y c r s q z (X : is r x) (Y : is s y) (C : is q c) : rounds_to z (r * s + q) -> is z (fma x y c).
Proof. intros. standard (Bfma_correct 53 1024 _ _ mode_NE x y c (proj1 X) (proj1 Y) (proj1 C)). Qed.

(* Step 1: a float holds every multiple of the unit 2^u up to 2^53 units, if u is in range. *)
Notation in_range u := (-1074 <= u <= 970)%Z.
Definition multiple (u : Z) (r : R) := exists m : Z, r = IZR m * pow2 u.
Lemma float_holds u r : in_range u -> multiple u r -> Rabs r <= pow2 (53 + u) -> rounds_to r r.
Proof. intros U [m E] B. split; [|apply Rle_lt_trans with (1 := B), bpow_lt; lia].
  apply round_generic; [apply valid_rnd_N|]. change (SpecFloat.fexp _ _) with (FLT_exp (-1074) 53). destruct B as [B|B].
  - apply generic_format_FLT. exists (Float radix2 m u); [exact E| |simpl; lia].
    rewrite E, Rabs_mult, <- abs_IZR, (Rabs_pos_eq (pow2 u)), bpow_plus in B by apply bpow_ge_0.
    apply Rmult_lt_reg_r in B; [|apply bpow_gt_0]. now apply lt_IZR.
  - apply generic_format_abs_inv. rewrite B. apply generic_format_bpow. unfold FLT_exp. lia.
Qed.

(** * The grid *)
(* A float holds the number that `Exact.grid` adds and subtracts. *)
Lemma rounder_is u : in_range u -> is (IZR ROUND_TO_INTEGER * pow2 u) (rounder u).
Proof. intros U. destruct (float_holds u (IZR ROUND_TO_INTEGER * pow2 u) U) as [E B]; [now eexists| |].
  - rewrite bpow_plus, Rabs_pos_eq; [apply Rmult_le_compat_r|apply Rmult_le_pos]; try apply bpow_ge_0; now apply IZR_le.
  - generalize (binary_normalize_correct 53 1024 _ _ mode_NE ROUND_TO_INTEGER u false). cbv zeta. unfold F2R.
    cbn [Fnum Fexp round_mode]. unfold rnd in E. rewrite E, Rlt_bool_true by exact B. now split.
Qed.

(* Between 2^52 and 2^53 units the floats are the multiples of the unit, so an addition rounds to these. *)
Lemma rounds_to_unit u s : in_range u -> pow2 52 <= s <= pow2 53 -> rnd (s * pow2 u) = IZR (ZnearestE s) * pow2 u.
Proof. intros U [L [H | ->]]; assert (P := bpow_gt_0 radix2 u).
  - unfold rnd, round, scaled_mantissa, cexp, F2R. rewrite (mag_unique_pos radix2 _ (53 + u)).
    + replace (SpecFloat.fexp 53 1024 (53 + u)) with u by (unfold SpecFloat.fexp, SpecFloat.emin; lia).
      simpl Fnum. rewrite Rmult_assoc, <- bpow_plus. replace (u + - u)%Z with 0%Z by lia. now rewrite Rmult_1_r.
    + replace (53 + u - 1)%Z with (52 + u)%Z by lia. rewrite !bpow_plus.
      split; [apply Rmult_le_compat_r|apply Rmult_lt_compat_r]; easy || lra.
  - change (pow2 53) with (IZR (2 ^ 53)). rewrite Zrnd_IZR by apply valid_rnd_N.
    apply (float_holds u); [exact U|now eexists|].
    rewrite bpow_plus, Rabs_pos_eq; [apply Rle_refl|]. apply Rmult_le_pos; [now apply IZR_le|lra].
Qed.

(* An even number may be added before or after rounding to the nearest integer, ties to even. *)
Lemma nearest_plus s c : Z.even c = true -> ZnearestE (s + IZR c) = (ZnearestE s + c)%Z.
Proof. intros C. assert (F : forall t d, Zfloor (t + IZR d) = (Zfloor t + d)%Z).
  { intros t d. apply Zfloor_imp. rewrite !plus_IZR. generalize (Zfloor_lb t) (Zfloor_ub t). lra. }
  unfold Znearest, Zceil. rewrite Ropp_plus_distr, <- opp_IZR, !F, plus_IZR, Z.even_add, C.
  replace (s + _ - _) with (s - IZR (Zfloor s)) by ring. destruct Rcompare, (Z.even (Zfloor s)); simpl; lia.
Qed.

(* Step 2: `Exact.grid` gives the nearest multiple of the unit, ties to even. It is at most 2^b units. *)
Definition bounded (e : Z) (x : float) := is_finite x = true /\ Rabs (B2R x) <= pow2 (Z.max e SMALLEST_UNIT).
Definition on_grid (u b : Z) (x : float) := is_finite x = true /\ multiple u (B2R x) /\ Rabs (B2R x) <= pow2 (b + u).
Lemma grid_rounds x b e : (0 <= b <= 51)%Z -> (e <= LARGEST)%Z -> bounded e x -> let u := unit e b in
  on_grid u b (grid x b e) /\ B2R (grid x b e) = round radix2 (FIX_exp u) ZnearestE (B2R x).
Proof. intros B E [F X] u. set (s := B2R x * pow2 (- u)). set (z := IZR (ZnearestE s) * pow2 u).
  assert (U : in_range u) by (unfold u, unit; lia). assert (P := bpow_gt_0 radix2 u).
  assert (S : B2R x = s * pow2 u) by (unfold s; rewrite Rmult_assoc, <- bpow_plus, Z.add_opp_diag_l; simpl; ring).
  apply Rle_trans with (r3 := pow2 (b + u)) in X; [|apply bpow_le; unfold u, unit; lia].
  assert (Z : Rabs z <= pow2 (b + u)) by (apply (abs_round_le_generic radix2 (FIX_exp u) ZnearestE);
    [apply generic_format_bpow; unfold FIX_exp; lia|exact X]).
  assert (L : pow2 (b + u) <= pow2 51 * pow2 u) by (rewrite <- bpow_plus; apply bpow_le; lia).
  assert (T : - pow2 51 <= s <= pow2 51) by (apply Rabs_le_inv, Rmult_le_reg_r with (1 := P);
    rewrite <- (Rabs_pos_eq (pow2 u)) at 1 by lra; rewrite <- Rabs_mult, <- S; lra).
  enough (G : is z (grid x b e)) by (destruct G as [G Q]; unfold on_grid; rewrite Q; repeat split; easy || now eexists).
  refine (subtract_is _ _ (IZR (ZnearestE s + ROUND_TO_INTEGER) * pow2 u) _ _ _ (rounder_is u U) _).
  - refine (add_is _ _ _ _ _ (conj F eq_refl) (rounder_is u U) _). split.
    + rewrite S, <- Rmult_plus_distr_r, <- nearest_plus by easy. apply rounds_to_unit; [exact U|]. simpl in *. lra.
    + apply (float_holds u); [exact U|now eexists|].
      rewrite plus_IZR, Rmult_plus_distr_r. apply Rle_trans with (1 := Rabs_triang _ _). fold z.
      rewrite bpow_plus, (Rabs_pos_eq (_ * _)) by (apply Rmult_le_pos; [now apply IZR_le|lra]). simpl in *. lra.
  - rewrite <- Rmult_minus_distr_r, <- minus_IZR, Z.add_simpl_r. apply (float_holds u); [exact U|now eexists|].
    apply Rle_trans with (1 := Z), bpow_le. lia.
Qed.

(* A grid does not see the sign of a zero. The addition of a bias does not, if the bias is not −0. *)
Lemma sign_of_zero s b e bias : in_range (unit e b) -> bias <> B754_zero true ->
  grid (B754_zero s) b e = grid (B754_zero false) b e /\ add (B754_zero s) bias = add (B754_zero false) bias.
Proof. intros U Y. split; [|now destruct bias as [[] | | |], s]. destruct (rounder_is _ U) as [_ E].
  unfold grid, add. destruct (rounder _); try easy. revert E. generalize (bpow_gt_0 radix2 (unit e b)). simpl. lra.
Qed.

(** * The sum *)
(* Step 3: a product of numbers on two grids is a multiple of the product of the units. *)
Definition term (u : Z) (p : float * float) :=
  is_finite (fst p) = true /\ is_finite (snd p) = true /\ multiple u (value p).
Lemma product_of_grids u v a b p : on_grid u a (fst p) -> on_grid v b (snd p) ->
  term (u + v) p /\ Rabs (value p) <= pow2 (a + b + (u + v)).
Proof. intros [F [[m M] A]] [G [[k K] B]]. unfold term, value. repeat split; try easy.
  - exists (m * k)%Z. rewrite M, K, mult_IZR, bpow_plus. ring.
  - replace (a + b + (u + v))%Z with (a + u + (b + v))%Z by ring. rewrite Rabs_mult, bpow_plus.
    apply Rmult_le_compat; easy || apply Rabs_pos.
Qed.

(* Step 4: so is a sum of such products. *)
Lemma sum_of_terms u l : Forall (term u) l -> multiple u (total l) /\ Rabs (total l) <= size l.
Proof. induction 1 as [|p l [_ [_ [m M]]] _ [[k K] B]]; simpl; [rewrite Rabs_R0; split; [exists 0%Z; ring|lra]|].
  split; [|apply Rle_trans with (1 := Rabs_triang _ _); lra]. exists (m + k)%Z. rewrite M, K, plus_IZR. ring.
Qed.

(* The sum of n products of c bits has 53 bits, if c and the logarithm of n, rounded up, are together at most 53. *)
Lemma size_fits c u l : Forall (fun p => Rabs (value p) <= pow2 (c + u)) l -> (c + Z.log2_up (count l) <= 53)%Z ->
  size l <= pow2 (53 + u).
Proof. intros B N. apply Rle_trans with (IZR (count l) * pow2 (c + u)).
  - clear N. induction B as [|p l H _ IH]; [simpl; lra|]. simpl length. rewrite Nat2Z.inj_succ, succ_IZR. simpl. lra.
  - apply Rle_trans with (pow2 (Z.log2_up (count l)) * pow2 (c + u)); [|rewrite <- bpow_plus; apply bpow_le; lia].
    apply Rmult_le_compat_r; [apply bpow_ge_0|]. rewrite <- IZR_Zpower by apply Z.log2_up_nonneg. apply IZR_le.
    destruct l as [|p l]; [easy|]. apply Z.log2_up_le_pow2; simpl length; lia.
Qed.

(* `operand_bits` and `sum_bits` see to that. *)
Lemma operand_bits_fit n : (0 <= n <= MOST_TERMS)%Z ->
  let b := operand_bits n in (16 <= b <= 21 /\ b + b + Z.log2_up n <= 53)%Z.
Proof. intros N b. assert (L := Z.log2_up_le_mono n MOST_TERMS (proj2 N)). assert (P := Z.log2_up_nonneg n).
  assert (E : Z.log2_up (Z.max (n - 1) 0 + 1) = Z.log2_up n) by (destruct (Z.eq_dec n 0); [now subst|f_equal; lia]).
  change (Z.log2_up _) with 21%Z in L at 2. unfold b, operand_bits, bit_length. rewrite E. Z.div_mod_to_equations. lia.
Qed.
Lemma sum_bits_fit n : (0 <= n < 2 ^ 53)%Z -> let b := sum_bits n in (0 <= b <= 51 /\ b + 0 + Z.log2_up n <= 53)%Z.
Proof. intros N b. assert (L := Z.log2_up_le_mono n (n + 1) ltac:(lia)). unfold b, sum_bits, bit_length.
  assert (M := Z.log2_up_le_mono (n + 1) (2 ^ 53) ltac:(lia)). change (Z.log2_up (2 ^ 53)) with 53%Z in M. lia.
Qed.

(* A sum of real numbers has no brackets, and no order. *)
Lemma sum_app f l k : sum f (l ++ k) = sum f l + sum f k.
Proof. induction l as [|p l IH]; simpl; [|rewrite IH]; lra. Qed.
Lemma sum_permutation f l k : Permutation l k -> sum f l = sum f k.
Proof. induction 1; simpl; lra. Qed.

(* Step 5: so no operation rounds, neither the last one nor, by induction, those before it. *)
Lemma no_rounding u w : in_range u -> Forall (term u) (terms w) -> size (terms w) <= pow2 (53 + u) ->
  is (total (terms w)) (result w).
Proof. intros U. induction w as [x|x y|w IHw v IHv|x y w IH]; cbn [terms result]; intros T S;
    destruct (sum_of_terms u _ T) as [M B]; assert (E := float_holds u _ U M (Rle_trans _ _ _ B S)).
  - apply Forall_inv in T. split; [apply T|]. simpl. unfold value, one. cbn [fst snd]. rewrite Bone_correct. ring.
  - apply Forall_inv in T as [F [G _]]. simpl in E |- *. rewrite Rplus_0_r in *.
    now apply multiply_is with (B2R x) (B2R y).
  - apply Forall_app in T. destruct T as [T1 T2]. rewrite !sum_app in *.
    assert (N1 := sum_of_terms u _ T1). assert (N2 := sum_of_terms u _ T2).
    assert (P1 := Rabs_pos (total (terms w))). assert (P2 := Rabs_pos (total (terms v))).
    apply (add_is _ _ (total (terms w)) (total (terms v))); [apply IHw|apply IHv|exact E]; easy || lra.
  - destruct (Forall_inv T) as [F [G _]]. apply Forall_inv_tail in T. assert (P := Rabs_pos (value (x, y))). simpl in *.
    apply (fma_is _ _ _ (B2R x) (B2R y) (total (terms w))); [easy|easy|apply IH|]; easy || lra.
Qed.

(* So each order gives the true sum, with the terms that are zero or without them. *)
Lemma sum_exact u l : in_range u -> Forall (term u) l -> size l <= pow2 (53 + u) -> exact l.
Proof. intros U T S w [y [z [Y [Z P]]]].
  assert (E : forall f, (forall p, zero p -> f p = 0) -> sum f l = sum f (terms w)).
  { intros f F. assert (N : forall x, Forall zero x -> sum f x = 0).
    { induction 1 as [|p x H _ IH]; simpl; [easy|]. rewrite (F p H), IH. ring. }
    apply (sum_permutation f) in P. rewrite !sum_app, (N y Y), (N z Z) in P. lra. }
  rewrite E by (now intros p [_ [_ H]]). apply (no_rounding u); [exact U| |].
  - apply (Forall_app _ z), (Permutation_Forall P), Forall_app. split; [|exact T].
    revert Y. apply Forall_impl. intros p [F [G H]]. repeat split; try easy. exists 0%Z. rewrite H. ring.
  - rewrite <- E; [exact S|]. intros p [_ [_ H]]. rewrite H. apply Rabs_R0.
Qed.

(* `Exact.norms` adds squares. The square of a number up to 2^e is at most 2^2e. *)
Lemma square_bounded x e : bounded e x -> (2 * e <= LARGEST)%Z -> bounded (2 * e) (multiply x x).
Proof. intros [F X] E. set (j := Z.max e SMALLEST_UNIT) in X. set (r := rnd (B2R x * B2R x)).
  assert (B : Rabs r <= pow2 (j + j)).
  { apply abs_round_le_generic; [now apply fexp_correct|apply valid_rnd_N| |rewrite Rabs_mult, bpow_plus].
    - apply generic_format_bpow. unfold SpecFloat.fexp, SpecFloat.emin, j. lia.
    - apply Rmult_le_compat; easy || apply Rabs_pos. }
  destruct (multiply_is x x _ _ r (conj F eq_refl) (conj F eq_refl)) as [G M].
  - split; [easy|]. apply Rle_lt_trans with (1 := B), bpow_lt. unfold j. lia.
  - split; [exact G|]. rewrite M. apply Rle_trans with (1 := B), bpow_le. unfold j. lia.
Qed.

(** * The theorem *)
(* The sums of mlp/arithmetic.py: the terms of one element of a result. *)
Inductive sum_of_code : list (float * float) -> Prop :=
  | dot l e f (b := operand_bits (count l)) : (* a row, which may have an e of its own, and a column *)
      (count l <= MOST_TERMS /\ e <= LARGEST /\ f <= LARGEST)%Z ->
      Forall (fun p => bounded e (fst p) /\ bounded f (snd p)) l ->
      sum_of_code (map (fun p => (grid (fst p) b e, grid (snd p) b f)) l)
  | bytes l u a f (b := operand_bits (count l)) : (* less a shift: u = −8, a = 16. Or the ones of `column_sums`: 0, 0 *)
      (count l <= MOST_TERMS /\ f <= LARGEST /\ -500 <= u <= 0 /\ a <= 16)%Z ->
      Forall (fun p => on_grid u a (fst p) /\ bounded f (snd p)) l ->
      sum_of_code (map (fun p => (fst p, grid (snd p) b f)) l)
  | sums l e (b := sum_bits (count l)) : (* of numbers, or of the squares of `norms` *)
      (count l < 2 ^ 53 /\ e <= LARGEST)%Z -> Forall (bounded e) l -> sum_of_code (map (fun x => (grid x b e, one)) l).

(* Steps 2 to 5 for each of them. *)
Lemma code_exact l : sum_of_code l -> exact l.
Proof. assert (K : forall T (h : T -> float * float) P l u v a b, Forall P l -> in_range (u + v)%Z ->
    (a + b + Z.log2_up (count l) <= 53)%Z -> (forall x, P x -> on_grid u a (fst (h x)) /\ on_grid v b (snd (h x))) ->
    exact (map h l)).
  { intros T h P k u v a b X U N H. apply (sum_exact _ _ U); [|apply (size_fits (a + b)); [|now rewrite length_map]];
      apply Forall_map; revert X; apply Forall_impl; intros x A; now apply (product_of_grids u v a b); apply H. }
  destruct 1 as [l e f b N X|l u a f b N X|l e b N X].
  1, 2: destruct (operand_bits_fit (count l)) as [B F]; [lia|]; fold b in B, F.
  3: destruct (sum_bits_fit (count l)) as [B F]; [lia|]; fold b in B, F.
  - apply (K _ _ _ _ (unit e b) (unit f b) b b X); [unfold unit; lia|lia|].
    intros p [Y Z]. split; apply grid_rounds; easy || lia.
  - apply (K _ _ _ _ u (unit f b) a b X); [unfold unit; lia|lia|].
    intros p [Y Z]. split; [exact Y|]. apply grid_rounds; easy || lia.
  - apply (K _ _ _ _ (unit e b) 0%Z b 0%Z X); [unfold unit; lia|lia|].
    intros x Y. split; [apply grid_rounds; easy || lia|]. split; [apply is_finite_Bone|].
    simpl snd. unfold one. rewrite Bone_correct, Rabs_R1. split; [exists 1%Z|]; simpl; lra.
Qed.

(* Main theorem: each way gives the true sum. So two ways give the same bits, or two zeros, which may differ in sign. *)
Theorem same_bits l w v : sum_of_code l -> same_terms l (terms w) -> same_terms l (terms v) ->
  is (total l) (result w) /\ (result w = result v \/ (is 0 (result w) /\ is 0 (result v))).
Proof. intros C W V. apply code_exact in C. destruct (C w W) as [F E], (C v V) as [G H].
  split; [easy|]. destruct (Req_dec (total l) 0) as [Z | Z]; [right; rewrite <- Z; easy|left].
  apply B2R_inj; [destruct (result w)|destruct (result v)|]; easy || (now elim Z) || congruence.
Qed.
Print Assumptions same_bits.
