"""What `configs/mlp.yaml` describes, as a script with scikit-learn; prints the test accuracy."""

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(
    x, y, test_size=0.25, stratify=y, random_state=0
)
network = MLPClassifier(
    (64,), learning_rate_init=0.01, batch_size=64, max_iter=20, random_state=0
)  # its defaults take eight times as many epochs for the same accuracy
model = make_pipeline(StandardScaler(), network).fit(x_train, y_train)
print(model.score(x_test, y_test))
