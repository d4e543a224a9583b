"""What the other stages found, as one page: findings in sentences, pictures, HTML and Markdown."""
