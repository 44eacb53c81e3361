"""The programs of the container image that are no part of the package."""
