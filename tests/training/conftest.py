"""What the tests of training share: one run of all jobs that nobody disturbs."""

import pytest
import torch
from training_driver import Jobs

from ptpp.training.run import prepare


@pytest.fixture(scope="session")
def whole(tmp_path_factory, training_stores):
    """Every job of a model, undisturbed; copy it before damaging it."""
    before = torch.get_num_threads(), torch.backends.mkldnn.matmul.fp32_precision
    prepare(1)
    work = Jobs(tmp_path_factory.mktemp("whole"), training_stores)
    work.all()
    torch.set_num_threads(before[0])
    torch.backends.mkldnn.matmul.fp32_precision = before[1]
    return work
