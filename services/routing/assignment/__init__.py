"""How tickets get agents: claims on agents, the weight that each takes, and the write of the assignment."""
