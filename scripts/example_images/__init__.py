"""Style pictures, painted with numpy alone: each painting is a function of a random generator and a size."""
