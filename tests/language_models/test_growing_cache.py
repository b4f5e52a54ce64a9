import torch
from transformers import DynamicCache

from october.language_models import growing_cache
from october.language_models.growing_cache import GrowingCache


def test_it_holds_what_a_copied_cache_holds(monkeypatch):
    """Reads, tokens one by one beyond the room, and rows that leave, in a random order."""
    monkeypatch.setattr(growing_cache, "_ROOM", 3)
    generator = torch.Generator().manual_seed(0)
    ours, theirs = GrowingCache(), DynamicCache()
    rows, kept = 5, []
    for step in range(24):
        keys, values = torch.randn(2, rows, 2, 4 if step == 0 else 1, 8, generator=generator)
        for layer in range(2):
            found, expected = ours.update(keys, values + layer, layer), theirs.update(keys, values + layer, layer)
            assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        assert ours.get_seq_length() == theirs.get_seq_length() == 4 + step
        kept.append((ours.layers[0].keys, theirs.layers[0].keys))
        if step % 7 == 5 and rows > 2:
            chosen = torch.randperm(rows, generator=generator)[: rows - 1]
            ours.batch_select_indices(chosen)
            theirs.batch_select_indices(chosen)
            rows -= 1
    assert rows == 2
    assert all(torch.equal(one, other) for one, other in kept), "what was returned before does not change"


def test_tokens_are_written_in_place():
    cache = GrowingCache()
    cache.update(torch.zeros(2, 1, 10, 4), torch.zeros(2, 1, 10, 4), 0)
    place = cache.layers[0].keys.data_ptr()
    for _ in range(30):
        cache.update(torch.ones(2, 1, 1, 4), torch.ones(2, 1, 1, 4), 0)
    assert cache.layers[0].keys.data_ptr() == place
    cache.crop(-5)
    keys, _ = cache.update(torch.full((2, 1, 1, 4), 2.0), torch.ones(2, 1, 1, 4), 0)
    assert keys.data_ptr() == place
    assert keys[0, 0, :, 0].tolist() == [0.0] * 10 + [1.0] * 25 + [2.0]
