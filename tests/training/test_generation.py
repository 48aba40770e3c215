"""Text written by a language model, through the command line and by itself."""

import numpy as np
import pytest

from nnad.training.generation import choose, continued

JOB = """
data: {{name: text, path: text.txt, tokenizer: {tokenizer}, context: 4, batch_size: 16}}
model: [{{Embedding: {{embedding_dim: 8}}}}, {{GRU: {{hidden_size: 16}}}}, Linear]
loss: cross_entropy
optimizer: {{lr: 0.03}}
trainer: {{epochs: {epochs}}}
output: {{name: text}}
"""


class Next:
    """A model without weights: the next token is the last one plus one, modulo 5."""

    training = False

    def eval(self):
        return self

    def train(self, mode):
        return self

    def __call__(self, x):
        assert x.shape[0] == 1 and x.shape[1] <= 3
        return np.eye(5)[(x + 1) % 5] * 50


def write_text(workplace, tokenizer="character", epochs=1, text="abcd" * 200):
    (workplace.folder / "text.txt").write_text(text)
    (workplace.folder / "job.yaml").write_text(JOB.format(tokenizer=tokenizer, epochs=epochs))


def test_tokens_follow_each_other_within_the_context():
    rng = np.random.default_rng(0)
    assert list(continued(Next(), [3], 6, 3, 1.0, None, rng)) == [4, 0, 1, 2, 3, 4]


def test_draws_follow_the_temperature_and_the_top():
    scores, rng = np.log([0.1, 0.6, 0.3]), np.random.default_rng(0)

    def shares(temperature, top_k):
        draws = [choose(scores, temperature, top_k, rng) for _ in range(2000)]
        return np.bincount(draws, minlength=3) / 2000

    np.testing.assert_allclose(shares(1.0, None), [0.1, 0.6, 0.3], atol=0.04)
    np.testing.assert_allclose(shares(0.5, 9), np.array([1, 36, 9]) / 46, atol=0.04)
    np.testing.assert_allclose(shares(1.0, 2), [0, 2 / 3, 1 / 3], atol=0.04)
    assert shares(0.0, None)[1] == shares(1.0, 1)[1] == 1


def test_a_run_writes_what_it_learned(workplace, nnad_main):
    write_text(workplace, epochs=8)
    assert nnad_main("train", "--config", "job.yaml")[0] == 0
    arguments = ("generate", "runs/text", "--prompt", "cd", "--length", "8", "--seed", "1")
    status, out, err = nnad_main(*arguments, "--temperature", "0")
    assert (status, out, err) == (0, ["cdabcdabcd"], [])
    assert nnad_main(*arguments) == nnad_main(*arguments)


@pytest.mark.parametrize("tokenizer", ["whitespace", "bpe"])
def test_every_tokenizer_reads_the_prompt_and_writes_text(workplace, nnad_main, tokenizer):
    write_text(workplace, tokenizer, text="the cat sat on the mat and " * 60)
    assert nnad_main("train", "--config", "job.yaml")[0] == 0
    status, out, _ = nnad_main("generate", "runs/text", "--prompt", "the cat", "--length", "3")
    assert status == 0 and out[0].startswith("the cat")


def test_predict_leads_to_generate(workplace, nnad_main):
    write_text(workplace)
    assert nnad_main("train", "--config", "job.yaml")[0] == 0
    status, _, err = nnad_main("predict", "runs/text", "--input", "text.txt", "--output", "y.csv")
    assert status == 2 and err[0].endswith("a language model writes text: nnad generate runs/text")


def test_what_cannot_be_written_is_told_in_a_line(workplace, nnad_main, finished):
    write_text(workplace)
    assert nnad_main("train", "--config", "job.yaml")[0] == 0
    wrong = [
        (["runs/text", "--prompt", "aXb"], "prompt: the run's text has no 'X'"),
        (["runs/text", "--prompt", ""], "prompt: '' holds no token"),
        (["runs/none"], "runs/none"),
        ([finished.run], "only a run on data.name: text can generate"),
        (["runs/text", "--temperature", "-1"], "--temperature is -1.0, expected"),
        (["runs/text", "--top-k", "0"], "--top-k is 0, expected"),
    ]
    for arguments, words in wrong:
        status, out, err = nnad_main("generate", *arguments)
        assert (status, out, len(err)) == (2, [], 1), arguments
        assert words in err[0]
