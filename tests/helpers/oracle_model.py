"""A language model whose answers and likelihoods are functions of the prompt; knows no network."""

from october.language_models import Completion, LanguageModel, Score


class OracleModel(LanguageModel):
    """`answer(prompt)` is what it writes, `likes(prompt, continuation)` the log-probability; it ends by itself."""

    def __init__(self, answer=None, likes=None):
        self.answer, self.likes, self.asked = answer, likes, []

    def generate(self, prompts, *, max_new_tokens, stop=(), **options):
        self.asked += prompts
        completions = []
        for prompt in prompts:
            text = self.answer(prompt)
            completions.append(Completion(text, tuple(range(len(text.split()) + 1)), None, "end", 1))
        return completions

    def score(self, prompts, continuations):
        pairs = zip(prompts, continuations, strict=True)
        return [Score(("",), (0,), (self.likes(prompt, continuation),)) for prompt, continuation in pairs]


class OracleHandle:
    """A handle on one, as experiments take it."""

    name = "oracle"

    def __init__(self, model):
        self.model = model

    def language_model(self):
        return self.model

    def fingerprint(self):
        return "oracle"
