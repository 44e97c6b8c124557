"""What people bring: posed photographs, transforms.json, camera paths."""
