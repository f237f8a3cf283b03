import torch
import torch.nn.functional as F

from tutelage.losses.clusters import subclass_rows
from tutelage.methods.oskd import OSKD


def test_labels_and_subclasses_of_unit_embeddings(make_nets, batch):
    method = OSKD(neighbours=1, weight=0.5, margin=2.0)
    nets = make_nets(method)
    nets.student.eval()
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    terms = method.loss(nets, batch._replace(labeled=batch.labeled._replace(labels=labels)))
    said = nets.student(batch.labeled.strong)
    unit = said.embedding / said.embedding.norm(dim=1, keepdim=True)
    torch.testing.assert_close(terms["task"], F.cross_entropy(said.logits, labels))
    expected = 0.5 * subclass_rows(unit, labels, neighbours=1, margin=2.0).mean()
    assert expected > 0
    torch.testing.assert_close(terms["subclass"], expected)


def test_one_image_a_class_is_plain_learning(make_nets, batch):
    method = OSKD()
    one = batch._replace(labeled=type(batch.labeled)(*(x[:3] for x in batch.labeled)))
    assert method.loss(make_nets(method), one)["subclass"] == 0
