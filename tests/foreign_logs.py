"""Results as other tools write them."""

SPEC = {"spec": {"completion_fns": ["gpt"], "eval_name": "x.dev.v0", "base_eval": "x", "split": "dev", "run_id": "1"}}
REPORT = {"final_report": {"accuracy": 0.5}, "run_id": "1"}


def record(*events):
    """A record as evals 3.0 writes it."""
    made = [
        {"run_id": "1", "event_id": at, "sample_id": f"x.dev.{id_}", "type": kind, "data": data, "created_by": ""}
        for at, (id_, kind, data) in enumerate(events)
    ]
    return [SPEC, *made, REPORT]


def sampled(id_, text="A"):
    return id_, "sampling", {"prompt": [{"role": "user", "content": f"q{id_}"}], "sampled": [text]}


def match(id_, correct, picked="A", expected="A"):
    return id_, "match", {"correct": correct, "expected": expected, "picked": picked}


def instance(id_, trial=0, perturbation=None, **figures):
    """An instance of per_instance_stats.json as HELM 0.5.16 writes it: what is None is left out."""
    stats = [
        {"name": {"name": name, "split": "test"}, "count": 1, "sum": value, "min": value, "max": value, "mean": value}
        if value is not None
        else {"name": {"name": name, "split": "test"}, "count": 0, "sum": 0}
        for name, value in figures.items()
    ]
    row = {"instance_id": id_, "train_trial_index": trial, "stats": stats}
    return row | ({"perturbation": perturbation} if perturbation else {})


def sample(id_, epoch=1, value="C", answer="4", **changes):
    """A sample as inspect_ai 0.3.285 writes it, without its events."""
    score = {"value": value, "answer": answer, "explanation": f"ANSWER: {answer}", "history": []}
    return {
        "id": id_,
        "epoch": epoch,
        "input": f"What is {id_}?",
        "target": "4",
        "messages": [{"id": "a", "content": f"What is {id_}?", "source": "input", "role": "user"}],
        "output": {"model": "mockllm/model", "choices": [], "completion": f"ANSWER: {answer}"},
        "scores": {"match": score, "length": {"value": 0.9, "history": []}},
        "metadata": {"topic": f"t{id_}"},
        "store": {},
        "model_usage": {},
        "uuid": f"u{id_}",
        "attachments": {},
    } | changes


def log(*samples, **changes):
    header = {"version": 2, "status": "success", "eval": {"task": "t", "model": "mockllm/model"}, "plan": {}}
    return header | {"results": {"total_samples": len(samples)}, "samples": list(samples)} | changes


def failed(id_, epoch=1):
    error = {"message": "ValueError('boom')", "traceback": "...", "traceback_ansi": "..."}
    return sample(id_, epoch, scores={}, error=error, output={"model": "m", "choices": [], "completion": ""})


def choice(id_, gold, logprobs, metric, choices=(" yes", " no"), **response):
    """A document of a task with choices as lighteval 0.13 writes it."""
    return {
        "doc": {
            "query": f"q{id_}?",
            "choices": list(choices),
            "gold_index": gold,
            "id": str(id_),
            "task_name": "t|0",
            "specific": {"topic": "x"},
        },
        "metric": metric,
        "model_response": {
            "input": f"q{id_}?",
            "text": [],
            "logprobs": logprobs,
            "output_tokens": [[1], [2]],
            **response,
        },
    }


def written(id_, gold, text, metric):
    """A document whose answer was written."""
    doc = {
        "query": f"q{id_}?",
        "choices": [gold],
        "gold_index": 0,
        "id": str(id_),
        "task_name": "t|0",
        "specific": None,
    }
    return {"doc": doc, "metric": metric, "model_response": {"input": f"q{id_}?", "text": text, "logprobs": []}}


def old(number, gold, predictions, metrics, printed=False):
    """A document as lighteval 0.8 writes it, and earlier ones as text."""
    row = {
        "example": f"q{number}?",
        "full_prompt": f"Question: q{number}?",
        "choices": [" yes", " no"],
        "gold": [],
        "gold_index": [gold],
        "predictions": predictions,
        "metrics": metrics,
        "truncated": [0],
    }
    return {key: str(value) for key, value in row.items()} if printed else row


def result(test, output, success, model="base", prompt=0, variable=None, **changes):
    """A result as promptfoo 0.123.1 writes it, without its costs and times."""
    value = variable or f"v{test}"
    return {
        "testIdx": test,
        "promptIdx": prompt,
        "promptId": "0bbb",
        "provider": {"id": "echo", "label": model},
        "prompt": {"raw": f"{['Say', 'Tell'][prompt]} {value}", "label": f"{['Say', 'Tell'][prompt]} {{{{x}}}}"},
        "vars": {"x": value},
        "testCase": {"vars": {"x": value}, "assert": [{"type": "contains", "value": "Say"}]},
        "response": {"output": output, "cached": False},
        "success": success,
        "score": float(success),
        "namedScores": {},
        "gradingResult": {"pass": success, "score": float(success), "reason": "..."},
        "failureReason": int(not success),
    } | changes


def results(*rows):
    inside = {"version": 3, "timestamp": "2026-11-28", "prompts": [], "results": list(rows), "stats": {}}
    return {"evalId": "eval-1", "results": inside, "config": {}, "shareableUrl": None}
