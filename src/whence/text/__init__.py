"""What words alone know: the controls that ask whether a model's insides add anything to text."""
