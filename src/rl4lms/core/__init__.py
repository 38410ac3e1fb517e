"""The maths, as pure functions of tensors. Every docstring gives shapes, the equation and its source."""
