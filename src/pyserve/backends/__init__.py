"""What makes servables. The only place that may import TensorFlow."""
