"""Adapters from strangers: configs, tensors and names that are broken, hostile, or of another method or model."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from attempts import attempt, shell
from broken import IN_ITS_PLACE, ODD_VALUES, changed_json, pieces, put
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Linear, Module, ModuleDict

from videogpa.models.adapters import CONFIG_FILE, WEIGHTS_FILE, adapted, adapter_fingerprint
from videogpa.models.lora_names import original_name

KIND = "adapters"
RANK, ALPHA = 2, 3.0


class Attention(Module):
    """The names of Wan's layers in a block, without the rest of it."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (Linear(8, 8, bias=False) for _ in range(3))
        self.to_out = torch.nn.ModuleList([Linear(8, 8, bias=False)])


class Network(Module):
    """A transformer that is a chain of its linear layers, under the names of Wan's; in float64, so that sums are close."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = torch.nn.ModuleList(ModuleDict({"attn1": Attention(), "attn2": Attention()}) for _ in range(2))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        for module in self.modules():
            if hasattr(module, "to_out"):
                x = x + module.to_out[0](torch.tanh(module.to_q(x) + module.to_k(x) + module.to_v(x)))
        return x


LAYERS = [name for name, module in Network().named_modules() if isinstance(module, Linear)]
X = torch.randn(4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def matrices() -> dict[str, tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(2)
    return {name: (torch.randn(RANK, 8, generator=random), torch.randn(8, RANK, generator=random)) for name in LAYERS}


def tensors(name: Callable[[str], str], a: str, b: str, *, alpha: bool = False) -> dict[str, Tensor]:
    found = {}
    for layer, (down, up) in matrices().items():
        found |= {f"{name(layer)}.{a}.weight": down, f"{name(layer)}.{b}.weight": up}
        found |= {f"{name(layer)}.alpha": torch.tensor(ALPHA)} if alpha else {}
    return found


FORMATS: dict[str, dict[str, Tensor]] = {
    "peft": tensors(lambda layer: f"base_model.model.{layer}", "lora_A", "lora_B"),
    "diffusers": tensors(lambda layer: f"transformer.{layer}", "lora_A", "lora_B"),
    "comfyui": tensors(lambda layer: f"diffusion_model.{original_name(layer)}", "lora_A", "lora_B", alpha=True),
    "kohya": tensors(lambda layer: "lora_unet_" + original_name(layer).replace(".", "_"), "lora_down", "lora_up", alpha=True),
}
CONFIG = {
    **{"peft_type": "LORA", "task_type": None, "r": RANK, "lora_alpha": ALPHA, "use_rslora": False, "use_dora": False},
    **{"bias": "none", "target_modules": ["to_q", "to_k", "to_v", "to_out.0"], "modules_to_save": None, "lora_dropout": 0.1},
    **{"rank_pattern": {}, "alpha_pattern": {}, "layers_to_transform": None, "layer_replication": None},
    **{"init_lora_weights": True, "fan_in_fan_out": False, "exclude_modules": None, "lora_bias": False},
    **{"base_model_name_or_path": "/home/somebody", "auto_mapping": None, "revision": None, "inference_mode": True},
}
DECIDE = {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern"}
"""Fields that the strength depends on."""


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapters")


def written(room: Path, weights: dict[str, Tensor], config: dict[str, Any] | None = None) -> Path:
    folder = Path(mkdtemp(dir=room))
    save_file(weights, folder / WEIGHTS_FILE)
    if config is not None:
        (folder / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
    return folder


def output(path: Path) -> Tensor:
    """What the network returns with the adapter, after a run has taken its fingerprint."""
    adapter_fingerprint(path)
    network = Network()
    with adapted(network, path), torch.no_grad():
        found: Tensor = network(X)
    assert torch.equal(network(X), Network()(X))  # it is taken off again
    return found


def expected(strength: float = ALPHA / RANK) -> Tensor:
    network = Network()
    with torch.no_grad():
        for name, (down, up) in matrices().items():
            network.get_submodule(name).weight += strength * up.double() @ down.double()
        found: Tensor = network(X)
    return found


def is_right(found: Tensor) -> None:
    torch.testing.assert_close(found, expected(), rtol=1e-5, atol=1e-5)


def is_finite(found: Tensor) -> None:
    assert found.isfinite().all()


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_whole_is_right(room: Path, form: str) -> None:
    says = form in ("peft", "comfyui", "kohya")
    path = written(room, FORMATS[form], CONFIG if form == "peft" else None)
    attempt(KIND, lambda: output(path if form == "peft" else path / WEIGHTS_FILE), expect="right result",
            check=is_right if says else is_finite)  # fmt: skip


@given(field=st.sampled_from([*CONFIG, "unknown"]), value=ODD_VALUES)
def test_a_field_of_the_config_is_bounded(room: Path, field: str, value: Any) -> None:
    path = written(room, FORMATS["peft"], CONFIG)
    (path / CONFIG_FILE).write_bytes(changed_json(path / CONFIG_FILE, field, value))
    attempt(KIND, lambda: output(path), names=str(path), check=is_finite if field in DECIDE else is_right, seconds=5)


@given(data=st.data())
def test_a_damaged_config_is_named(room: Path, data: st.DataObject) -> None:
    path = written(room, FORMATS["peft"], CONFIG)
    (path / CONFIG_FILE).write_bytes(data.draw(pieces((path / CONFIG_FILE).read_bytes())))
    attempt(KIND, lambda: output(path), names=str(path), check=is_finite, seconds=5)


HOSTILE = st.one_of(
    st.sampled_from([r"(\w+\.?)*!", "(a+)+$", r"(.*)*x", "(?P<", "[", "*", "\\", "(x|xx)*y", r"(\w|\w\w)+\.!", "a" * 10_000]),
    st.text("\\w.*+?()[]{}|^$ab0-1", max_size=30),
)


@given(
    field=st.sampled_from(["target_modules", "alpha_pattern", "rank_pattern", "exclude_modules", "layers_pattern"]),
    regex=HOSTILE,
)
def test_no_pattern_hangs(room: Path, field: str, regex: str) -> None:
    value: Any = {regex: 3} if field.endswith("_pattern") and field != "layers_pattern" else regex
    path = written(room, FORMATS["peft"], {**CONFIG, field: value})
    attempt(KIND, lambda: output(path), names=str(path), check=is_finite, seconds=5)


TARGETS = st.one_of(st.sampled_from(["to_q", "to_out.0", "0", "", ".", "blocks"]), st.text(max_size=5))


@given(targets=st.lists(TARGETS, max_size=4), times=st.sampled_from([1, 50_000]))
def test_no_list_of_targets_hangs(room: Path, targets: list[str], times: int) -> None:
    path = written(room, FORMATS["peft"], {**CONFIG, "target_modules": targets * times})
    attempt(KIND, lambda: output(path), names=str(path), check=is_right, seconds=5)


@pytest.mark.parametrize("what", IN_ITS_PLACE)
@pytest.mark.parametrize("file", [CONFIG_FILE, WEIGHTS_FILE, "a single file"])
def test_something_else_in_its_place_is_named(room: Path, file: str, what: str) -> None:
    path = written(room, FORMATS["peft"], CONFIG)
    broken = path / ("x.safetensors" if file == "a single file" else file)
    put(broken, what)
    gone = file == CONFIG_FILE and what == "nothing"  # weights alone are a format of their own
    attempt(KIND, lambda: output(path if broken.name != "x.safetensors" else broken), names=str(path), check=is_finite,
            expect="right result" if gone else "clear sentence", seconds=5)  # fmt: skip


@pytest.mark.parametrize("name", ["adapter_model.bin", "pytorch_lora_weights.bin", "lora.pt", "lora.ckpt"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_pickle_is_never_loaded(room: Path, name: str, whole: bool) -> None:
    path = Path(mkdtemp(dir=room))
    if name == "adapter_model.bin":
        (path / CONFIG_FILE).write_text(json.dumps(CONFIG))
    torch.save({"x": torch.ones(1)}, path / name)
    attempt(KIND, lambda: output(path if whole else path / name), expect="clear sentence", names=str(path))


@given(form=st.sampled_from(list(FORMATS)), data=st.data())
def test_torn_weights_are_named(room: Path, form: str, data: st.DataObject) -> None:
    path = written(room, FORMATS[form], CONFIG if form == "peft" else None) / WEIGHTS_FILE
    content = path.read_bytes()
    place, put_in = data.draw(st.integers(0, len(content) - 1)), data.draw(st.binary(max_size=4))
    torn = [
        content[:place],
        content[:place] + put_in + content[place + len(put_in) :],
        content[:place] + b"\0" + content[place:],
    ]
    path.write_bytes(data.draw(st.sampled_from(torn)))
    attempt(KIND, lambda: output(path), names=str(path.parent), check=lambda found: found.shape == X.shape, seconds=5)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "nan": lambda tensor: torch.full_like(tensor, float("nan")),
    "inf": lambda tensor: torch.full_like(tensor, float("inf")),
    "whole numbers": lambda tensor: tensor.to(torch.int8),
    "eight bits": lambda tensor: tensor.to(torch.float8_e4m3fn),
    "one row more": lambda tensor: torch.cat([tensor.reshape(-1), tensor.reshape(-1)]),
    "no rows": lambda tensor: tensor[:0] if tensor.dim() else tensor.reshape(1)[:0],
    "four axes": lambda tensor: tensor[..., None, None],
    "complex": lambda tensor: tensor.to(torch.complex64),
}


@given(form=st.sampled_from(list(FORMATS)), number=st.integers(0, 100), change=st.sampled_from([*CHANGES, "gone", "doubled"]))
def test_a_tensor_that_is_not_right_is_named(room: Path, form: str, number: int, change: str) -> None:
    weights = dict(FORMATS[form])
    name = sorted(weights)[number % len(weights)]
    tensor = weights.pop(name)
    if change in CHANGES:
        weights[name] = CHANGES[change](tensor).contiguous()
    elif change == "doubled":
        weights |= {name: tensor, f"pipe.dit.{name}": tensor.clone()}
    path = written(room, weights, CONFIG if form == "peft" else None)
    fine = change == "gone" and name.endswith("alpha")  # ComfyUI takes it to be the rank
    attempt(KIND, lambda: output(path), expect="right result" if fine else "clear sentence", names=str(path), check=is_finite)


@given(
    form=st.sampled_from(list(FORMATS)),
    old=st.sampled_from(
        ["blocks", "attn1", "self_attn", "to_q", "q", "lora_A", "lora_down", "weight", "0", "transformer", "."]
    ),
    new=st.one_of(
        st.sampled_from(
            ["", ".", "..", "../..", "double_blocks", "down_blocks", "lokr_w1", "hada_w1_a", "oft_blocks", "ia3_l"]
        ),
        st.text(max_size=12),
    ),
)
def test_names_of_something_else_are_refused(room: Path, form: str, old: str, new: str) -> None:
    """A name that still fits is none of something else: whatever is put on comes out as it should, or is refused."""
    weights = {name.replace(old, new).encode("utf-8", "replace").decode(): tensor for name, tensor in FORMATS[form].items()}
    path = written(room, {name: tensor.clone() for name, tensor in weights.items()}, CONFIG if form == "peft" else None)
    attempt(KIND, lambda: output(path), names=str(path), check=is_finite, seconds=5)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("{0}.dora_scale", "DoRA"),
        ("{0}.lora_magnitude_vector", "DoRA"),
        ("{0}.lokr_w1", "LoKr"),
        ("{0}.hada_w1_a", "LoHa"),
        ("{0}.oft_blocks", "OFT"),
        ("{0}.boft_R", "BOFT"),
        ("{0}.ia3_l", "IA3"),
        ("{0}.lora_mid.weight", "convolutions"),
        ("{0}.diff", ".diff"),
        ("{0}.diff_b", ".diff_b"),
        ("{0}.weight", "other tensors beside it"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "text encoder"),
    ],
)
@pytest.mark.parametrize("form", FORMATS)
def test_another_method_is_refused_by_its_kind(room: Path, form: str, key: str, kind: str) -> None:
    stem = next(iter(FORMATS[form])).partition(".lora")[0]
    path = written(room, {**FORMATS[form], key.format(stem): torch.ones(8)}, CONFIG if form == "peft" else None)
    attempt(KIND, lambda: output(path), expect="clear sentence", names=kind)


@given(
    path=st.one_of(
        st.sampled_from(["", "/", ".", "~", "a\0b", "x" * 5000, "/dev/zero", "owner/name", "/proc/self/mem"]), st.text()
    )
)
def test_a_path_that_is_none_is_named(path: str) -> None:
    attempt(KIND, lambda: output(Path(path)), expect="clear sentence", seconds=5)


SMALL = ["--set", "prompts.world={train: 1, held_out: 2, frames: 9, height: 32, width: 32}"]


@pytest.mark.parametrize("command", ["generate", "evaluate"])
@pytest.mark.parametrize("wrong", ["nowhere", "pickle", "another model"])
def test_the_command_line_refuses_it_before_a_clip_is_made(command: str, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    if wrong == "pickle":
        torch.save({}, path)
    if wrong == "another model":
        save_file(FORMATS["kohya"], path)
    size = ["--set", "generate={frames: 9, height: 32, width: 32, candidates: 1, num_inference_steps: 1}"]
    out = tmp_path / "run"
    attempt(KIND, lambda: shell(command, "smoke-test", "--adapter", str(path), "--out", str(out), *SMALL, *size),
            expect="clear sentence", names=str(path), seconds=60)  # fmt: skip
    assert not list(out.rglob("*.mp4"))
