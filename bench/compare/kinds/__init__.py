"""The servers that are compared: for each, what it is called and how it is configured and started."""

from kinds import docker_registry, entrepot, nginx

ENTREPOT, DOCKER_REGISTRY, NGINX = entrepot.NAME, docker_registry.NAME, nginx.NAME

REGISTRIES = [ENTREPOT, DOCKER_REGISTRY]
ALL = [ENTREPOT, DOCKER_REGISTRY, NGINX]

MODULES = {kind.NAME: kind for kind in (entrepot, docker_registry, nginx)}

# What pulled-through paths begin with, and the upstream's name in ours.
UPSTREAM = entrepot.UPSTREAM
