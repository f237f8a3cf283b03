"""Planted errors that no test can see, with the reason: they change no number, or none that anyone could tell."""

ORDER = "the two may change places"
FLAT = "of one axis, the first is the last"
SYMMETRIC = "rows and columns of this matrix are the same"
BELOW = "only that it is below all others counts"
MASKED = "what stands there is multiplied by 0, or replaced, afterwards"
SMALL = "a floor against division by nought; any number as small will do"
SIGN_OF_MEAN = "a mean of weights is above 0 where their sum is"
ANY_ROW = "only the shape, or the device, of what is picked counts"
COMPARED = "a comparison has no gradient"

SURVIVORS = {  # FILE.FUNCTION: BEFORE -> AFTER
    "angles.angular_rows: F.cosine_similarity(student, teacher.detach(), dim=1) -> "
    "F.cosine_similarity(teacher.detach(), student, dim=1)": ORDER,
    "angles.arcface_logits: (1 - own.square()).clamp_min(1e-06) -> (1 - own.square()).clamp_min(2e-06)":
        "a floor against an infinite slope; any small number will do",
    "anomaly.ordinal_loss: (scores, targets) -> (targets, scores)": ORDER,
    "contrast.memory_rows: max(1, n) -> max(n, 1)": ORDER,
    "contrast.nt_xent: (one, other) -> (other, one)": ORDER,
    "dense.counted_mean: (loss, weight) -> (weight, loss)": ORDER,
    "dense.trusted_mean: torch.where(counted, loss, 0) -> torch.where(counted, loss, 1)": MASKED,
    "depth.affine_invariant: (said, target) -> (target, said)": ORDER,
    "depth.log_difference: torch.where(seen, depth, 1) -> torch.where(seen, depth, 2)": MASKED,
    "depth.silog: w.sum(1) -> w.mean(1)": SIGN_OF_MEAN,
    "depth.silog: each * seen -> each": "an image without weights has nought already",
    "depth.without_worst: loss.detach() -> loss": "ranks have no gradient",
    "depth._normal: torch.where(seen, x.flatten(1), 0) -> torch.where(seen, x.flatten(1), 1)": MASKED,
    "depth._normal: torch.where(seen.any(1, keepdim=True), median, 0) -> "
    "torch.where(seen.any(1, keepdim=True), median, 1)": MASKED,
    "depth._normal: seen.sum(1, keepdim=True).clamp(min=1) -> seen.sum(1, keepdim=True).clamp(min=2)":
        "a single pixel is its own median",
    "uncertainty.robust_entropy: -(logs.exp() * logs).sum(1) -> (logs.exp() * logs).sum(1)": "squared afterwards",
    "distillation.oracle_rows: count.clamp_min(1) -> count": "0 / 0 stands in rows that torch.where then replaces",
    "distillation.permuted_dark_knowledge: torch.zeros_like(probabilities).scatter(1, top, -1.0) -> "
    "torch.zeros_like(probabilities).scatter(1, top, -2.0)": BELOW,
    "distillation.permuted_dark_knowledge: torch.rand_like(probabilities).scatter(1, top, -1.0) -> "
    "torch.rand_like(probabilities).scatter(1, top, -2.0)": BELOW,
    "distillation.alike_classes: min(closest, len(rows)) -> min(len(rows), closest)": ORDER,
    "ensembles.voted_order: torch.stack(votes).sum(0) -> torch.stack(votes).mean(0)":
        "only the sign counts",
    "heatmaps.map_mse: (said, wanted) -> (wanted, said)": ORDER,
    "information.missing_information: (:, 0) -> (:, 1)": ANY_ROW,
    "maps.flow: (0, 0) -> (0, 1)": ANY_ROW,
    "maps.attention: maps.abs().pow(power).mean(1) -> maps.abs().pow(power).sum(1)": "scaled to length one afterwards",
    "peers.others_kl: said.sum(-1) -> said.mean(-1)": MASKED,
    "peers.naive_target: lost.argmin(0)[None, :, None].expand(1, *said.shape[1:]) -> "
    "lost.argmin(0)[None, :, None].expand(2, *said.shape[1:])": ANY_ROW,
    "peers.linear_weights: spread.clamp_min(1e-06) -> spread.clamp_min(2e-06)": SMALL,
    "peers.linear_weights: logs.softmax(0) -> logs.softmax(-1)": FLAT,
    "ranking.first_others: min(length, len(scores) - 1) -> min(len(scores) - 1, length)": ORDER,
    "ranking.list_mle: student.flip(-1).logcumsumexp(-1).flip(-1) -> student.flip(-1).logcumsumexp(-1)":
        "the sum that follows does not see the order",
    "ranking.neighbour_triplets: (~alike).sum(-1) -> (~alike).sum(0)": SYMMETRIC,
    "ranking.neighbour_triplets: (~alike).sum(-1) -> (~alike).sum(-2)": SYMMETRIC,
    "ranking.position_weights: (-torch.arange(1, items.shape[1] + 1, device=items.device) / sharpness).softmax(0) -> "
    "(-torch.arange(1, items.shape[1] + 1, device=items.device) / sharpness).softmax(-1)": FLAT,
    "regression.bounded_error: teacher.detach() -> teacher": COMPARED,
    "regression.outlier_rejection: trusted_labels(teacher, labels, weight, threshold=threshold) -> "
    "trusted_labels(labels, teacher, weight, threshold=threshold)": ORDER,
    "regression.row_means: torch.where(counted, loss, 0) -> torch.where(counted, loss, 1)": MASKED,
    "regression.trusted_labels: (teacher - labels).detach() -> teacher - labels": COMPARED,
    "regression.trusted_labels: (teacher, labels) -> (labels, teacher)": ORDER,
    "relations.relational_angle: apart @ weight @ weight @ weight -> weight @ (apart @ weight @ weight)": ORDER,
    "relations.relational_angle: apart @ weight @ weight -> weight @ (apart @ weight)": ORDER,
    "relations.relational_angle: apart @ weight -> weight @ apart": ORDER,
    "relations._as_rows: x.movedim(1, -1) -> x.movedim(-1, 1)": "inner products do not see the order of elements",
    "selfsupervision.selected: torch.empty_like(order).scatter(0, order, torch.arange(len(order), "
    "device=order.device)) -> torch.empty_like(order).scatter(-1, order, torch.arange(len(order), "
    "device=order.device))": FLAT,
    "sequences.ctc: F.log_softmax(logits.float(), dim=-1).transpose(0, 1) -> "
    "F.log_softmax(logits.float(), dim=-1).transpose(1, 0)": ORDER,
    "sequences.ctc: words.masked_fill(~there, 0) -> words.masked_fill(~there, 1)":
        "what is beyond the length of a string is not read",
    "soft_boxes.imitation: (student, teacher) -> (teacher, student)":
        "a squared distance; the teacher's maps have no gradient",
    "soft_boxes.imitation: said.shape[-1] -> said.shape[-2]": "maps are square",
    "targets.mean_or_zero: max(len(x), 1) -> max(1, len(x))": ORDER,
    "targets.masked_mean: (x, keep) -> (keep, x)": ORDER,
    "tokens.cosine_apart: F.cosine_similarity(student, teacher.detach(), dim=-1) -> "
    "F.cosine_similarity(teacher.detach(), student, dim=-1)": ORDER,
}  # fmt: skip
