"""Pseudo-labels: who may give them."""

import pytest
from fake_models import fake_model

from ganiqa_jax.config import DataConfig, DistillConfig, SourceConfig
from ganiqa_jax.data.records import Split
from ganiqa_jax.data.sources import Source
from ganiqa_jax.errors import InputError
from ganiqa_jax.pseudo import pseudo_labels


def test_a_teacher_of_whole_pictures_cannot_say_how_sure_it_is(tmp_path):
    teacher = fake_model("teacher", whole=True)

    def made(**settings):
        config = SourceConfig("kadid10k", "/none", rows=1, **settings)
        data = DataConfig(sources=(config,), scale="kadid10k")
        sources = [Source(config, Split((), (), ()), 0.5, 1.0)]
        run = DistillConfig(data=data, steps=1)
        return pseudo_labels(run, tmp_path, sources, teacher, progress=False)

    with pytest.raises(InputError, match="fake looks at whole pictures.* kadid10k"):
        made(role="unlabelled_pairs")
    assert not list(tmp_path.iterdir())
    assert made(role="labelled_pairs") == {}
