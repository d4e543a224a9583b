"""A server with OpenAI's interface and a small language model of its own, which can be told to do things wrong.

    with serve(Stub(faults={"echo shifted"})) as (url, stub): ...

The model is a table: what follows depends on the last two tokens, by a hash. Its tokens are bytes and some pieces, the
longest first, so a blank melts with the word behind it as it does for real. `Stub.likelihood` is the slow, obvious way.
"""

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

PIECES = [
    " yes",
    " no",
    " maybe",
    " so",
    " Paris",
    " London",
    " the",
    " The",
    " a",
    " dog",
    " and",
    " not",
    "ing",
    " is",
]
PIECES += [" sleeps", " there", " are", " none", " zebra", " of", " zinc", "Answer:", " in", " park", "positive"]
VOCABULARY = [bytes([byte]) for byte in range(256)] + [piece.encode() for piece in PIECES] + [b""]
END = len(VOCABULARY) - 1  # the end marker
BASE, TUNED = "base", "tuned"


@lru_cache(maxsize=100_000)
def log_probs(model, before):
    """Of every token behind the last two."""
    scores = np.random.default_rng([7, *before]).normal(scale=3, size=len(VOCABULARY))
    if model == TUNED:
        scores = scores + np.random.default_rng([8, *before]).normal(size=len(VOCABULARY))
    scores[128:256] -= 20  # no half characters
    scores[:32] -= 20
    return scores - np.log(np.exp(scores).sum())


def tokens(text):
    """The longest piece at each place."""
    data, ids = text.encode(), []
    while data:
        ids.append(max((i for i in range(END) if data.startswith(VOCABULARY[i])), key=lambda i: len(VOCABULARY[i])))
        data = data[len(VOCABULARY[ids[-1]]) :]
    return ids


def spelled(ids):
    return b"".join(VOCABULARY[i] for i in ids).decode("utf-8", "replace")


def likelihood(model, prompt, continuation):
    """The log-likelihood of a continuation: the whole text's tokens, less those that the prompt has in common."""
    first, whole = tokens(prompt), tokens(prompt + continuation)
    same = next((i for i, (a, b) in enumerate(zip(first, whole, strict=False)) if a != b), len(first))
    return sum(log_probs(model, tuple(whole[max(0, i - 2) : i]))[whole[i]] for i in range(same, len(whole)))


class Stub:
    """What the server does: which of echo and /tokenize it has, whether by ids, and what it does wrong.

    `fail`: of how many requests the first come to nothing, as `failure` says (a status, or lost).
    """

    def __init__(self, echo=True, tokenize=True, ids=True, faults=(), key=None, fail=0, failure=429, pause=0.0):
        self.echo, self.tokenize, self.ids, self.faults = echo, tokenize, ids, set(faults)
        self.key, self.fail, self.failure, self.pause = key, fail, failure, pause
        self.lock, self.asked, self.at_once, self.most_at_once = threading.Lock(), Counter(), 0, 0
        self.bodies = []

    def complete(self, body):
        model = BASE if "adapter dropped" in self.faults else body["model"]
        prompt = body["prompt"] if isinstance(body["prompt"], list) else tokens(body["prompt"])
        n, bias = body.get("logprobs"), body.get("logit_bias", {})
        ids, told = list(prompt), []
        if body.get("echo") and self.echo:
            told = [(token, None if i == 0 else self.scores(model, prompt, i)) for i, token in enumerate(prompt)]
        for _ in range(body["max_tokens"]):
            scores = log_probs(model, tuple(ids[-2:])).copy()
            chosen = scores.copy()
            if "bias ignored" not in self.faults:
                for token, value in bias.items():
                    chosen[int(token)] += value
            if "penalty" in self.faults:
                chosen[np.argmax(chosen)] = -100
            if "sampled" in self.faults:
                chosen = chosen + np.random.default_rng().gumbel(size=len(chosen))
            told.append((int(np.argmax(chosen)), scores))
            ids.append(told[-1][0])
            if ids[-1] == END:
                break
        written = ids[len(prompt) :]
        text = spelled(ids if body.get("echo") and self.echo else written)
        reason = "length"
        for stop in body.get("stop", []):
            if stop in text:
                text, reason = text[: text.index(stop)], "stop"
        reason = "stop" if written[-1:] == [END] else reason
        answer = {"text": text, "index": 0, "finish_reason": reason, "logprobs": None}
        if n is not None:
            answer["logprobs"] = self.told(told, n, body.get("echo") and self.echo)
        return {"choices": [answer], "model": body["model"]}

    def scores(self, model, prompt, i):
        found = log_probs(model, tuple(prompt[max(0, i - 2) : i]))
        if "cut matters" in self.faults and i == len(prompt) - 1 and len(prompt) % 2:
            found = found - 2.0
        return found

    def told(self, rows, n, echoed):
        values = [None if scores is None else float(scores[token]) for token, scores in rows]
        if "echo shifted" in self.faults and echoed:
            values = [None, *values[2:], values[-1]]
        if "a number that is none" in self.faults:
            values[-1] = float("nan")
        if "positive" in self.faults:
            values = [value if value is None else -value for value in values]
        if "certain" in self.faults:
            values = [value if value is None else 0.0 for value in values]
        most = min(n, 3 if "few told" in self.faults else len(VOCABULARY))
        tops = [
            {} if scores is None else {int(i): float(scores[i]) for i in np.argsort(-scores)[:most]}
            for _, scores in rows
        ]
        if self.ids == "listed":  # as llama.cpp does
            listed = [
                {"id": token, "token": spelled([token]), "logprob": value}
                | {"top_logprobs": [{"id": i, "token": spelled([i]), "logprob": v} for i, v in top.items()]}
                for (token, _), value, top in zip(rows, values, tops, strict=True)
            ]
            return {"content": listed}

        def name(token):
            return f"token_id:{token}" if self.ids else spelled([token])

        return {
            "tokens": [name(token) for token, _ in rows],
            "token_logprobs": values,
            "top_logprobs": [{name(i): value for i, value in top.items()} or None for top in tops],
        }

    def chat(self, body):
        if "chat_template_kwargs" in body and "no values" in self.faults:
            return None
        text = "".join(f"[{turn['role']}]{turn['content']}" for turn in body["messages"]) + "[assistant]"
        done = self.complete({**body, "prompt": text, "logprobs": None})
        choice = done["choices"][0]
        message = {"role": "assistant", "content": choice["text"]}
        return {"choices": [{"index": 0, "message": message, "finish_reason": choice["finish_reason"]}]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer(None)

    def do_POST(self):
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body):
        stub = self.server.stub
        with stub.lock:
            stub.asked[self.path] += 1
            stub.at_once += 1
            stub.most_at_once = max(stub.most_at_once, stub.at_once)
            failing, stub.fail = stub.fail > 0, max(0, stub.fail - 1)
            if body is not None:
                stub.bodies.append(body)
        try:
            if stub.pause:
                time.sleep(stub.pause)
            self._routed(stub, body, failing)
        finally:
            with stub.lock:
                stub.at_once -= 1

    def _routed(self, stub, body, failing):
        if failing and stub.failure == "lost":
            self.close_connection = True
            return
        if failing:
            self._send(stub.failure, {"error": {"message": "busy"}}, {"Retry-After": "0"})
        elif "hangs" in stub.faults:
            time.sleep(1)
            self.close_connection = True
        elif "drips" in stub.faults:
            self.send_response(200)
            self.end_headers()
            for _ in range(30):
                self.wfile.write(b" ")
                time.sleep(0.1)
            self.close_connection = True
        elif stub.key is not None and self.headers.get("Authorization") != f"Bearer {stub.key}":
            given = self.headers.get("Authorization", "")
            self._send(401, {"error": {"message": f"Incorrect API key provided: {given}"}})
        elif "no JSON" in stub.faults:
            self._send(200, "<html>Welcome to nginx!</html>")
        elif self.path == "/v1/models":
            listed = [
                {"id": name, "object": "model", "owned_by": "stub", "max_model_len": 512} for name in (BASE, TUNED)
            ]
            self._send(200, {"data": listed})
        elif self.path == "/v1/completions":
            self._send(200, stub.complete(body))
        elif self.path == "/v1/chat/completions":
            done = stub.chat(body)
            self._send(200 if done else 400, done or {"error": {"message": "unknown: chat_template_kwargs"}})
        elif self.path == "/tokenize" and stub.tokenize:
            self._send(200, {"tokens": tokens(body["content"])})
        elif self.path == "/detokenize" and stub.tokenize:
            self._send(200, {"content": spelled(body["tokens"])})
        elif self.path == "/version":
            self._send(200, {"version": "1.0"})
        else:
            self._send(404, {"error": {"message": "not found"}})

    def _send(self, status, value, headers=None):
        data = (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": len(data), **(headers or {})}.items():
            self.send_header(name, str(text))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serve(stub):
    """The address of the stub's server, up to the version, while this is open."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads, server.stub = True, stub
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
