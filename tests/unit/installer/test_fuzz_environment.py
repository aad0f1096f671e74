from tests.fuzz import fuzz_environment


def test_what_is_accepted_renders_to_files_of_known_shapes() -> None:
    outcomes = fuzz_environment.run(7, lambda number: number < 400)
    assert outcomes["rendered"] > 50 and len(outcomes) > 50
