import torch
import torch.nn.functional as F

from tutelage.methods.bert_bilstm import BertBiLSTM

STUDENT, TEACHER = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]


def test_values(echoing, say, saying):
    batch = saying(strong=say([STUDENT], [TEACHER]), labels=[2])
    for method, told in ((BertBiLSTM(), 8 / 3), (BertBiLSTM(reduction="batchmean"), 8.0)):
        terms = method.loss(echoing(method), batch)
        torch.testing.assert_close(terms, {"task": torch.tensor(0.0), "distillation": torch.tensor(told)})
    method = BertBiLSTM(alpha=0.25)
    terms = method.loss(echoing(method), batch)
    torch.testing.assert_close(
        terms, {"task": torch.tensor(0.25 * 0.407606), "distillation": torch.tensor(2.0)}, atol=1e-6, rtol=0
    )


def test_it_is_the_mean_squared_error_of_logits(make_nets, batch):
    method = BertBiLSTM()
    nets = make_nets(method)
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    said = method.loss(nets, batch)["distillation"]
    torch.testing.assert_close(said, F.mse_loss(nets.student(images).logits, nets.teacher(images).logits))


def test_a_pool_image_counts_what_the_guard_allows(echoing, say, saying):
    """The labelled image agrees with the teacher (0), the pool's does not (8 / 3)."""
    for unsupervised, share in ((1.0, 1 / 2), (0.5, 1 / 3), (0.0, 0.0)):
        method = BertBiLSTM(unsupervised=unsupervised)
        batch = saying(strong=say([STUDENT], [STUDENT]), labels=[2], pool_strong=say([STUDENT], [TEACHER]))
        loss = method.loss(echoing(method), batch)["distillation"]
        torch.testing.assert_close(loss, torch.tensor(share * 8 / 3))
