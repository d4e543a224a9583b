import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.parquet import parquet_batches, read_parquet


def refused(call, path):
    with pytest.raises(TunediffError) as caught:
        call(path)
    [line] = caught.value.args
    assert str(path) in line
    return line


def test_what_is_no_ordinary_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.parquet")
    (tmp_path / "zero.parquet").symlink_to("/dev/zero")
    (tmp_path / "folder.parquet").mkdir()
    for name in ("pipe.parquet", "zero.parquet"):
        assert refused(read_parquet, tmp_path / name).endswith("cannot be read: it is not a regular file")
    assert refused(read_parquet, tmp_path / "folder.parquet").endswith("cannot be read: it is a folder")


@pytest.mark.slow
def test_parquet_that_would_become_far_larger_than_it_is_is_refused(tmp_path):
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"n": pa.array(np.zeros(2_000_000, dtype=np.int8))}), path)
    assert "found 2,000,000 rows in" in refused(read_parquet, path)
    # One text of a megabyte, which 20,000 rows name: 20 GB.
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, dtype=np.int32)), pa.array(["x" * 2**20]))
    noise = pa.array(np.random.default_rng(0).bytes(20_000 * 4)[at : at + 4] for at in range(20_000))
    pq.write_table(pa.table({"text": text, "noise": noise}), path, store_schema=False)
    assert "found more than 1," in refused(read_parquet, path)
    assert sum(map(len, parquet_batches(path, lambda _: ["noise"])[2])) == 20_000


def test_any_parquet_within_the_bounds_is_read_whole(tmp_path):
    table = pa.table(
        {
            "text": [f"text {n}" for n in range(5000)],
            "same": ["y" * 100] * 5000,
            "list": [[str(n), None] for n in range(5000)],
            "score": [{"yes": 0.5, "no": n / 5000} for n in range(5000)],
        }
    )
    for options in ({}, {"use_dictionary": False}, {"compression": "zstd", "row_group_size": 700}):
        pq.write_table(table, tmp_path / "a.parquet", **options)
        read = read_parquet(tmp_path / "a.parquet")
        assert read.equals(table)
    pq.write_table(table.slice(0, 0), tmp_path / "a.parquet")
    assert read_parquet(tmp_path / "a.parquet").equals(table.slice(0, 0))
