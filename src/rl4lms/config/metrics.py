"""Options of the metrics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt, StrictStr

from rl4lms.plugins.component import Block

_ALLOW_PICKLE = "read pytorch_model.bin where there are no safetensors; only from sources you trust, since pickles can run code"


class ClassifierOptions(Block):
    """A sequence classifier, and which of its outputs to read."""

    model: str = Field(min_length=1, description="Hub id, local folder, or asset:<name> of the task")
    label: StrictInt | Annotated[StrictStr, Field(min_length=1)] | None = Field(
        None, description="name or index; needed unless the classifier has one output"
    )
    output: Literal["probability", "logit", "match"] = Field("probability", description="match: 1 where the label is the most likely one")
    include_prompt: bool = Field(True, description="score prompt and completion together, as in the paper")
    max_tokens: int = Field(512, ge=8)
    truncation_side: Literal["left", "right"] = Field("left", description="which end of a long text is cut off")
    batch_size: int = Field(64, ge=1)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    allow_pickle: bool = Field(False, description=_ALLOW_PICKLE)


class ClassifierConfig(ClassifierOptions):
    """Score of a label by a classifier."""

    key: str = Field("classifier", min_length=1, description="name of the result in logs")


class IncreasingNumbersConfig(Block):
    """Numbers that go up, as in the original library."""

    min_tokens: int = Field(20, ge=1, description="texts shorter than half of this score less")


class DatesConfig(Block):
    """Whether there is a date written as YYYY-MM-DD."""


class JudgeConfig(Block):
    """How texts are scored under a language model."""

    batch_size: int = Field(32, ge=1)
    max_tokens: int = Field(512, ge=8, description="prompt and text together; the prompt is cut first, from the left")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"


class PerplexityConfig(JudgeConfig):
    """Perplexity of completions under a judge LM."""

    model: str = Field(min_length=1, description="Hub id, local folder, or asset:<name> of the task")
    key: str = Field("perplexity", min_length=1, description="name of the result in logs; any but the default also names `<key>_nll`")
    allow_pickle: bool = Field(False, description=_ALLOW_PICKLE)


class ReferencePerplexityConfig(Block):
    """Perplexity of the references under the policy."""


class DiversityConfig(Block):
    """Lexical diversity of all completions together."""

    window: int = Field(100, ge=1, description="segment length of MSTTR, in words")
    resamples: int = Field(200, ge=0, description="bootstrap samples for the standard errors; 0: none")
    detail: Literal["standard", "all"] = Field("standard", description="eight keys, or all 42 that the original library logged")


class RougeConfig(Block):
    """ROUGE against one or several references."""

    stemmer: bool = Field(True, description="compare Porter stems of words longer than three letters")
    multi_reference: Literal["max", "mean"] = Field("max", description="of several references the best counts, or their mean")


class CocoRougeLConfig(Block):
    """ROUGE-L as in COCO captioning: F with the best precision and the best recall over the references."""

    beta: float = Field(1.2, gt=0, description="how much more recall counts than precision")


class RougeLMaxConfig(Block):
    """ROUGE-L as py-rouge computes it, the best over the references."""

    alpha: float = Field(0.5, ge=0, le=1, description="weight of precision; the rest is that of recall")
    weight_factor: float = Field(1.0, gt=0, description="py-rouge takes this root of precision and recall; the original's recipes set 1.2")
    stemmer: bool = True
    max_words: int | None = Field(100, ge=1, description="words beyond this are cut off; null: none")


Smoothing = Literal["none", "floor", "add-k", "exp"]


class BleuConfig(Block):
    """BLEU of tokens between white space, as in nlg-eval."""

    max_n: int = Field(4, ge=1, le=9, description="n-grams up to this length")
    tokenize: Literal["whitespace", "13a"] = "whitespace"
    lowercase: bool = False
    smoothing: Smoothing = Field("exp", description="of the values of single texts; the corpus value is not smoothed")


class SacreBleuConfig(Block):
    """BLEU by sacrebleu, 0 to 100."""

    tokenize: Literal["13a", "intl", "zh", "char", "none"] = "13a"
    lowercase: bool = False
    smoothing: Smoothing = "exp"


class ChrfConfig(Block):
    """Character n-gram F-score by sacrebleu, 0 to 100."""

    char_order: int = Field(6, ge=1)
    word_order: int = Field(0, ge=0, description="2: chrF++")
    beta: int = Field(2, ge=1)
    lowercase: bool = False


class TerConfig(Block):
    """Translation edit rate by sacrebleu, in per cent of the reference length; lower is better."""

    normalized: bool = Field(False, description="split punctuation from words")
    no_punct: bool = Field(False, description="remove punctuation")
    asian_support: bool = False
    case_sensitive: bool = False


class ExactMatchConfig(Block):
    """Whether a text equals one of its references."""

    normalise: bool = Field(True, description="ignore case, punctuation, articles and extra white space, as for SQuAD")


class TokenF1Config(Block):
    """F1 of the words shared with the best reference, as for SQuAD."""


class MeteorConfig(Block):
    """METEOR."""

    alpha: float = Field(0.9, ge=0, le=1, description="weight of recall in the harmonic mean; precision has the rest")
    beta: float = Field(3.0, ge=0, description="exponent of the fragmentation penalty")
    gamma: float = Field(0.5, ge=0, le=1, description="the largest fragmentation penalty")


_CORPUS = "whose references give the document frequencies: a split of the task, or a file of data"


class CiderConfig(Block):
    """CIDEr."""

    corpus: str = Field("train", min_length=1, description=_CORPUS)
    max_n: int = Field(4, ge=1, le=9)
    tokenize: Literal["ptb", "whitespace"] = Field("ptb", description="ptb: as in COCO captioning; whitespace: as in nlg-eval")


class CiderDConfig(CiderConfig):
    """CIDEr-D."""

    sigma: float = Field(6.0, gt=0, description="of the length penalty, in words")


class SpiceConfig(Block):
    """SPICE by aac-metrics."""


class EncoderOptions(Block):
    """How texts run through an encoder."""

    batch_size: int = Field(64, ge=1)
    max_tokens: int = Field(512, ge=8, description="longer texts are cut; the model's own limit applies, too")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    allow_pickle: bool = Field(False, description=_ALLOW_PICKLE)


class BertScoreConfig(EncoderOptions):
    """BERTScore."""

    model: str = Field("roberta-large", min_length=1, description="an encoder: Hub id or folder")
    layer: int | None = Field(None, ge=0, description="whose states are compared; needed unless bert-score has a choice for the model")
    idf: str | None = Field(None, min_length=1, description=f"weigh tokens by rarity; {_CORPUS}")
    baseline: str | None = Field(None, min_length=1, description="rescale with this file of baselines, one line per layer as in bert-score")


class BleurtConfig(EncoderOptions):
    """BLEURT."""

    model: str = Field(min_length=1, description="folder or Hub id of a checkpoint in HF format")


class EmbeddingSimilarityConfig(EncoderOptions):
    """Cosine of text embeddings."""

    model: str = Field(min_length=1, description="an encoder: Hub id or folder")
    pooling: Literal["mean", "cls"] = "mean"
    to: Literal["references", "prompts"] = Field("references", description="what completions are compared with")


Granularity = Literal["sentence", "paragraph", "document", "paragraph-sentence", "document-sentence"]
_GRANULARITY = "how source and text are cut, both in the same way or source-text"


class SummaCZSConfig(EncoderOptions):
    """SummaC-ZS: entailment by an NLI model."""

    model: str = Field(min_length=1, description="an NLI classifier with a label named like `entailment`: Hub id or folder")
    source: str = Field("prompts", min_length=1, description="what must entail the text: prompts, references, or a data column")
    granularity: Granularity = Field("paragraph", description=_GRANULARITY)
    max_tokens: int = Field(500, ge=8, description="longer pairs are cut; the model's own limit applies, too")
    op1: Literal["max", "mean", "min"] = Field("max", description="over the parts of the source")
    op2: Literal["max", "mean", "min"] = Field("mean", description="over the parts of the text")
    use_entailment: bool = True
    use_contradiction: bool = True


class SummaCConvConfig(EncoderOptions):
    """SummaC-Conv: a layer over histograms of entailment."""

    model: str = Field(min_length=1, description="an NLI classifier with a label named like `entailment`: Hub id or folder")
    weights: str = Field(min_length=1, description="the trained layer, a safetensors file or folder")
    source: str = Field("prompts", min_length=1, description="what must entail the text: prompts, references, or a data column")
    granularity: Granularity = Field("sentence", description=_GRANULARITY)
    max_tokens: int = Field(500, ge=8, description="longer pairs are cut; the model's own limit applies, too")


class IntentAccuracyConfig(EncoderOptions):
    """Whether a classifier reads the wanted intent from the last turn and the completion."""

    model: str = Field(min_length=1, description="Hub id, local folder, or asset:<name> of the task")
    column: str = Field("intent", min_length=1, description="data column with the wanted label, a name or an index")
    turn_end: str = Field(
        "<EOU>", description="ends a turn in prompts, and stands between turn and completion as in the classifier's training"
    )


class ParentConfig(Block):
    """PARENT, precision and recall against a table."""

    column: str = Field("table", min_length=1, description="data column: lists of [attribute, value]")
    recall_weight: float | None = Field(
        None, ge=0, le=1, description="of the references in recall; null: chosen for each reference by how much of the table it mentions"
    )
    tokenize: Literal["13a", "whitespace"] = Field("13a", description="13a: punctuation is split from words; whitespace: tokenised text")


class TottoConfig(Block):
    """The metrics of ToTTo's own evaluation, from the columns of its data."""

    null_references: bool = Field(
        False, description="fill up to three references with the text <null>, as ToTTo's script does: its exact numbers, but no fair reward"
    )


class ConceptCoverageConfig(Block):
    """Share of the concepts that a text uses, in any inflection."""

    column: str = Field("concepts", min_length=1, description="data column: lists of words, or one text of them")
    inflect: bool = Field(True, description="count inflected forms")


class ImdbGrammarConfig(Block):
    """Gold measures of `imdb` mini."""
