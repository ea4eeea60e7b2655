"""What torch.save wrote is read without running anything, and whatever would run is refused in one line."""

from __future__ import annotations

import collections
import pathlib
import pickle
import random
import time
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from ghostyolo.errors import WeightsError  # noqa: E402
from ghostyolo.models.pickles import Unbuilt, open_torch_file  # noqa: E402
from ghostyolo.models.pickles.torch_file import View  # noqa: E402
from tests.models.pickles import hostile  # noqa: E402

FORMS = {"zip": True, "before 1.6": False}


def tensors():
    torch.manual_seed(0)
    base = torch.randn(6, 4)
    return {
        "float": base,
        "half": base.half(),
        "bfloat": base.bfloat16(),
        "double": base.double(),
        "long": torch.arange(5),
        "byte": torch.arange(5, dtype=torch.uint8),
        "bool": base > 0,
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 3),
        "turned": base.t(),
        "part": base[2:4, 1:],
        "parameter": torch.nn.Parameter(base.clone()),
    }


@pytest.mark.parametrize("form", FORMS)
def test_tensors_of_every_type_come_out_as_they_went_in(tmp_path, form):
    given = tensors()
    torch.save(given, tmp_path / "x.pt", _use_new_zipfile_serialization=FORMS[form])
    with open_torch_file(tmp_path / "x.pt") as file:
        assert list(file.tree) == list(given)
        for name, view in file.tree.items():
            assert isinstance(view, View)
            read = file.tensor(view)
            assert read.dtype == given[name].dtype
            assert torch.equal(read, given[name].detach()), name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_plain_values_come_out_as_they_went_in(tmp_path, form, protocol):
    given = {
        "numbers": [1, -1, 300, 70_000, 1 << 40, -(1 << 70), 2.5, True, None],
        "texts": ["a", "ü" * 300, b"\x00\xff", ""],
        "nested": {"tuple": (1, (2, (3, 4)), ()), ("a", 1): {"b": [[]]}},
        "ordered": collections.OrderedDict(b=1, a=2),
    }
    others = {"set": {1}, "default": collections.defaultdict(list, a=[1]), "path": pathlib.PurePosixPath("a/b")}
    others |= {
        "size": torch.Size([2, 3]),
        "number": np.float64(2),
        "type": torch.float16,
        "device": torch.device("cpu"),
    }
    torch.save([given, others], tmp_path / "x.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=FORMS[form])
    with open_torch_file(tmp_path / "x.pt") as file:
        plain, rest = file.tree
    assert plain == given
    assert rest["set"] == [1]
    assert rest["default"] == {"a": [1]}
    assert rest["size"] == (2, 3)


@pytest.mark.parametrize("form", FORMS)
def test_a_network_of_classes_that_are_not_here_is_opened(tmp_path, form):
    hostile.foreign_module_file(tmp_path / "x.pt", legacy=form != "zip")
    with open_torch_file(tmp_path / "x.pt") as file:
        model = file.tree["model"]
        assert isinstance(model, Unbuilt)
        assert model.name == "somebody.nn.tasks.DetectionModel"
        assert model.attribute("names") == {0: "cat", 1: "dog"}


@pytest.mark.parametrize("name", hostile.programs())
def test_a_hostile_pickle_is_refused_and_nothing_is_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = hostile.archive(tmp_path / "x.pt", hostile.programs()[name])
    begun = time.process_time()
    with pytest.raises(WeightsError) as caught, open_torch_file(path):
        pass
    assert time.process_time() - begun < 5
    assert not hostile.ran(tmp_path)
    message = str(caught.value)
    assert "x.pt" in message
    assert len(message.splitlines()) == 1
    assert len(message) < 400
    assert message.isprintable()


def test_a_refusal_says_what_would_have_been_called(tmp_path):
    path = hostile.archive(tmp_path / "x.pt", hostile.text_call("os", "system", "ls"))
    with pytest.raises(WeightsError, match=r"would call os\.system.*nothing in it was run"), open_torch_file(path):
        pass


def test_values_that_repeat_or_hold_themselves_do_no_harm(tmp_path):
    laughs = []
    for _ in range(60):  # 2^60 values if they were written out
        laughs = [laughs, laughs]
    ring = {}
    ring["ring"] = ring
    deep = []
    for _ in range(50_000):
        deep = [deep]
    program = b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"."
    torch.save([laughs, ring], tmp_path / "x.pt")
    with open_torch_file(tmp_path / "x.pt") as file:
        assert file.tree[1]["ring"] is file.tree[1]
    with open_torch_file(hostile.archive(tmp_path / "y.pt", program)) as file:
        assert isinstance(file.tree, list)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, "I5\n", "I1\n"),
        (4, "I1\n", "I1\n"),
        (0, f"I{1 << 40}\n", "I0\n"),
        (0, "I2\n", "I-1\n"),
        (-1, "I2\n", "I1\n"),
        (0, "I2\nI2\n", "I1\n"),
        (0, f"I{1 << 62}\nI{1 << 62}\n", "I1\nI1\n"),
        (0, "F2.0\n", "I1\n"),
    ],
)
def test_a_tensor_that_its_storage_does_not_hold_is_refused(tmp_path, offset, size, stride):
    program = hostile.tensor_program(offset, size, stride)
    path = hostile.archive(tmp_path / "x.pt", program, **{"0": b"\0" * 16})
    with pytest.raises(WeightsError, match=r"x\.pt is damaged"), open_torch_file(path) as file:
        file.tensor(file.tree)


def test_the_tensor_program_itself_is_sound(tmp_path):
    path = hostile.archive(tmp_path / "x.pt", hostile.tensor_program(1, "I3\n", "I1\n"), **{"0": b"\0" * 16})
    with open_torch_file(path) as file:
        assert file.tensor(file.tree).tolist() == [0, 0, 0]


def test_an_archive_that_would_grow_is_refused(tmp_path):
    bomb = hostile.archive(tmp_path / "x.pt", b"N.", compress=True, **{"0": b"\0" * (1 << 20)})
    with pytest.raises(WeightsError, match="compressed"), open_torch_file(bomb):
        pass


def test_a_tensor_whose_record_is_not_there_is_damage(tmp_path):
    path = hostile.archive(tmp_path / "x.pt", hostile.tensor_program(0, "I3\n", "I1\n", key="../../x"))
    with pytest.raises(WeightsError, match="no record"), open_torch_file(path) as file:
        file.tensor(file.tree)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither a zip file nor a pickle"),
        (b"hello", "neither a zip file nor a pickle"),
        (pickle.dumps({"a": 1}, protocol=2), "not one that torch.save wrote"),
        (b"PK\x03\x04" + b"\0" * 100, "neither a zip file nor a pickle"),
    ],
)
def test_another_file_is_said_to_be_one(tmp_path, content, message):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=message), open_torch_file(tmp_path / "x.pt"):
        pass


def test_a_zip_of_something_else_is_said_to_be_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match="without a pickle"), open_torch_file(tmp_path / "x.pt"):
        pass


def test_a_torchscript_program_is_said_to_be_one(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="TorchScript"), open_torch_file(tmp_path / "x.pt"):
        pass


def damaged(content: bytes, choice: random.Random) -> bytes:
    """The content with bytes changed, cut out, put in or cut off."""
    data = bytearray(content)
    for _ in range(choice.randrange(1, 6)):
        place = choice.randrange(len(data)) if data else 0
        kind = choice.randrange(4)
        if kind == 0 and data:
            data[place] = choice.randrange(256)
        elif kind == 1:
            del data[place : place + choice.randrange(1, 20)]
        elif kind == 2:
            data[place:place] = bytes(choice.choices(b"(]}tR.cbsuaX\x80\x81\x93h", k=choice.randrange(1, 12)))
        elif len(data) > 10:
            del data[choice.randrange(len(data)) :]
    return bytes(data)


def fuzz(tmp_path, rounds: int, seed: int) -> tuple[int, int]:
    """Read damaged files; return how many were refused and how many were still whole."""
    choice = random.Random(seed)
    hostile.foreign_module_file(tmp_path / "zip.pt")
    hostile.foreign_module_file(tmp_path / "old.pt", legacy=True)
    with zipfile.ZipFile(tmp_path / "zip.pt") as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        program = archive.read(name)
        records = {str(place): archive.read(name.replace("data.pkl", f"data/{place}")) for place in range(4)}
    old = (tmp_path / "old.pt").read_bytes()
    whole = (tmp_path / "zip.pt").read_bytes()
    refused = read = 0
    for number in range(rounds):
        path = tmp_path / "x.pt"
        if number % 3 == 0:
            path.write_bytes(damaged(old, choice))
        elif number % 3 == 1:
            path.write_bytes(damaged(whole, choice))
        else:
            hostile.archive(path, damaged(program, choice), **records)
        try:
            with open_torch_file(path) as file:
                waiting = [file.tree]
                seen = set()
                while waiting:
                    value = waiting.pop()
                    if id(value) in seen:
                        continue
                    seen.add(id(value))
                    if isinstance(value, View):
                        file.tensor(value)
                    elif isinstance(value, dict):
                        waiting += value.values()
                    elif isinstance(value, (list, tuple)):
                        waiting += value
                    elif isinstance(value, Unbuilt):
                        waiting.append(value.state)
            read += 1
        except WeightsError as error:
            assert len(str(error).splitlines()) == 1
            refused += 1
    return refused, read


def test_damage_is_refused_or_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused, read = fuzz(tmp_path, rounds=300, seed=0)
    assert refused > 100
    assert read > 3


@pytest.mark.slow
def test_much_damage_is_refused_or_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fuzz(tmp_path, rounds=20_000, seed=1)
