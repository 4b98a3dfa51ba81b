"""The device's side of a repository: what it trusts, fetches and installs."""
