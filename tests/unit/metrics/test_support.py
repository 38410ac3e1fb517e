from __future__ import annotations

from rl4lms.metrics.support import signature


def test_a_model_of_the_cache_has_no_place_of_this_machine_in_a_signature(cache_dir, tmp_path):
    assert signature("m", model=str(cache_dir / "judge-0c0a51")).startswith("m|model:asset:judge-0c0a51|version:")
    # two models of one's own may have one name
    assert f"model:{tmp_path}/model|" in signature("m", model=str(tmp_path / "model"))
