"""The steps that a person goes through, a module each. A step is a function `build(page)` that lays out its
part of the page and says what its handlers do; they get all they need through `Page` and their inputs."""
