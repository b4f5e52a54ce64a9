"""The chat format of Mistral 7B Instruct, and which tokens of a conversation the model learns to write.

    <s>[INST] system prompt            not learned
                                       (an empty line)
    question [/INST] answer</s>        learned: ` answer</s>`
    [INST] question [/INST] answer</s>   and again; no line breaks between the turns

The start token stands once. Only the template writes `[INST]`, `[/INST]` and special tokens: what a person says can
end neither his turn nor the conversation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ...errors import OctoberError
from ...language_models.answer_training import NOT_LEARNED, TrainingExample

Role = Literal["system", "user", "assistant"]
INSTRUCTION_BEGINS, INSTRUCTION_ENDS = "[INST]", "[/INST]"
SPECIAL_TOKENS = ("<s>", "<unk>")  # of Mistral 7B's tokenizer, the end token aside


@dataclass(frozen=True)
class Message:
    """What somebody says in a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Conversation:
    """Messages in turn: perhaps a system prompt, then user, assistant, user, ...

    Attributes:
        messages: In order.
        source: Where it comes from, for error messages: a file and a line.

    Raises:
        OctoberError: No message, an unknown role, an empty message, or roles that do not take turns.
    """

    messages: tuple[Message, ...]
    source: str = "conversation"

    def __post_init__(self) -> None:
        turns = [message for message in self.messages if message.role != "system"]
        if not turns:
            raise OctoberError(f"{self.source}: there is no message of a user")
        expected: list[str] = ["system"] if self.messages[0].role == "system" else []
        expected += [("user", "assistant")[turn % 2] for turn in range(len(self.messages) - len(expected))]
        for number, (message, role) in enumerate(zip(self.messages, expected, strict=True), start=1):
            if message.role != role:
                raise OctoberError(f"{self.source}: message {number} has role={message.role}, must be {role} here")
            if not message.content.strip():
                raise OctoberError(f"{self.source}: message {number} is empty")


def conversation_from(messages: Any, source: str = "conversation") -> Conversation:
    """Return the conversation of a list of objects with `role` and `content`, as data sets hold them.

    Raises:
        OctoberError: It is no such list; or as `Conversation`.
    """
    if not isinstance(messages, list):
        raise OctoberError(f"{source}: messages must be a list of objects with role and content")
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise OctoberError(f"{source}: message {number} must be an object with role and content, both texts")
        if message.get("role") not in get_args(Role):
            allowed = ", ".join(get_args(Role))
            raise OctoberError(f"{source}: message {number} has role={message.get('role')}, must be one of {allowed}")
    return Conversation(tuple(Message(message["role"], message["content"]) for message in messages), source)


def chat_prompt(
    conversation: Conversation, *, end: str = "</s>", special_tokens: Sequence[str] = SPECIAL_TOKENS
) -> str:
    """Return the text that an instruct model continues with its answer; the model's tokenizer adds the start token.

    Args:
        conversation: Its last message is a user's.
        end: The text of the model's end token.
        special_tokens: The texts of its other special tokens; `tokenizer.all_special_tokens` of another tokenizer.

    Raises:
        OctoberError: The last message is not a user's, or one holds what only the template may write.
    """
    if conversation.messages[-1].role != "user":
        raise OctoberError(f"{conversation.source}: the last message must be a user's, to be answered")
    return _rendered(conversation, end, [end, *special_tokens])[0]


def training_example(tokenizer: Any, conversation: Conversation) -> TrainingExample:
    """Return a conversation's tokens, and which are learned: those of the answers and their end tokens.

    Question and answer are tokenised together, as a model reads them; a token is learned if it reaches beyond the
    last character of `[/INST]`.

    Args:
        tokenizer: The model's, a fast one.
        conversation: Its last message is the assistant's.

    Raises:
        OctoberError: The last message is not the assistant's, one holds what only the template may write, or the
            tokenizer has no end token.
    """
    if conversation.messages[-1].role != "assistant":
        raise OctoberError(f"{conversation.source}: the last message must be the assistant's, to be learned")
    if tokenizer.eos_token is None:
        raise OctoberError("the tokenizer has no end token: an answer could not be ended")
    text, answers = _rendered(conversation, tokenizer.eos_token, tokenizer.all_special_tokens)
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    labels = [
        token if any(first < end and begin < last for first, last in answers) else NOT_LEARNED
        for token, (begin, end) in zip(encoding["input_ids"], encoding["offset_mapping"], strict=True)
    ]
    return TrainingExample([*start, *encoding["input_ids"]], [*(NOT_LEARNED for _ in start), *labels])


def _rendered(
    conversation: Conversation, end_token: str, special_tokens: Sequence[str]
) -> tuple[str, list[tuple[int, int]]]:
    """Return the text, and the first and last place of each answer with its end token."""
    text, system, answers = "", "", []
    for number, message in enumerate(conversation.messages, start=1):
        for control in (INSTRUCTION_BEGINS, INSTRUCTION_ENDS, *special_tokens):
            if control in message.content:
                raise OctoberError(
                    f"{conversation.source}: message {number} holds {control}, which only the template may write"
                )
        if message.role == "system":
            system = f"{message.content}\n\n"
        elif message.role == "user":
            text += f"{INSTRUCTION_BEGINS} {system}{message.content} {INSTRUCTION_ENDS}"
            system = ""
        else:
            answers.append((len(text), len(text) + 1 + len(message.content) + len(end_token)))
            text += f" {message.content}{end_token}"
    return text, answers
