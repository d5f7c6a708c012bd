"""Parse what a stranger sent, in a child process that can do nothing but compute."""

import seclude


def parse(text: str) -> dict[str, int]:
    """``a=1,b=2`` as a dictionary. A fault in here, or an attack on it, reaches neither files nor network."""
    pairs = (piece.split("=") for piece in text.split(","))
    return {name.strip(): int(number) for name, number in pairs}


def curious(path: str) -> str:
    """Does what a pure function does not."""
    with open(path) as file:
        return file.read()


def main() -> None:
    """One function that may run, one that may not."""
    print(seclude.strict(parse, "a=1, b=2"))
    try:
        seclude.strict(curious, "/etc/passwd")
    except seclude.SecludeError as error:
        print(error)


if __name__ == "__main__":
    main()
