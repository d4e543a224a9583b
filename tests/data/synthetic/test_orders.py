from tunediff.data.synthetic import orders


def test_every_field_of_an_order_stands_in_its_message():
    for rows in orders.rows(150, 30, 60, 1).values():
        for row in rows:
            order, message = row["answer"], row["message"]
            assert list(order) == ["name", "town", "item", "colour", "count", "urgent"]
            assert all(order[name] in message for name in ("name", "town", "item"))
            what = " ".join(filter(None, [str(order["count"]), order["colour"], order["item"]]))
            assert f" {what}{'s' * (order['count'] != 1)}" in message
            assert order["urgent"] == ("hurry" in message)
            assert row["tags"] == ["no_colour" if order["colour"] is None else "colour"]


def test_no_order_is_shared_between_splits_whatever_the_seeds():
    train = {tuple(row["answer"].values()) for row in orders.rows(300, 1, 1, 1)["train"]}
    test = {tuple(row["answer"].values()) for row in orders.rows(1, 1, 100, 2)["test"]}
    assert not train & test
    assert orders.rows(9, 3, 3, 5) == orders.rows(9, 3, 3, 5)


def test_the_text_holds_messages_of_the_training_split_alone():
    text = orders.text(200, 1)
    assert len(text) == 200
    assert not set(text) & {row["message"] for row in orders.rows(1, 200, 200, 1)["test"]}
