# syntax=docker/dockerfile:1
# Three stages: the first builds everything and is thrown away, the second installs what the agent needs at run time,
# the third holds Node, libbpf's shared library and the built files. No compiler and no npm in it.

FROM node:24-bookworm AS build
RUN apt-get update \
  && apt-get install -y --no-install-recommends clang llvm bpftool libbpf-dev libelf-dev zlib1g-dev \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build

FROM node:24-bookworm AS modules
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM node:24-bookworm-slim
LABEL org.opencontainers.image.title="Sluice" \
  org.opencontainers.image.description="Container-network observability: node agent and command line" \
  org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
  && apt-get install -y --no-install-recommends libbpf1 libcap2-bin \
  # A user who is not root gets a container's capabilities only through the file it runs.
  && setcap cap_bpf,cap_net_admin,cap_perfmon=ep /usr/local/bin/node \
  && apt-get purge -y --auto-remove libcap2-bin \
  && rm -rf /var/lib/apt/lists/* /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx /opt/yarn* \
  && groupadd --gid 10001 sluice && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin sluice \
  && install -d -o sluice -g sluice -m 0755 /bpffs /var/log/acns/hubble /var/run/sluice \
  && ln -s /app/bin/sluice.js /usr/local/bin/sluice
WORKDIR /app
COPY --from=modules /app/node_modules node_modules
COPY --from=build /src/dist dist
COPY --from=build /src/native/build/Release/sluice_native.node native/build/Release/
COPY --from=build /src/bpf/build/sluice.bpf.o bpf/build/
COPY --from=build /src/bin bin
COPY package.json LICENSE ./
# The container must be given CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or node does not start; with
# allowPrivilegeEscalation: false the kernel withholds them from this user and the agent says so. As root (--user 0) the
# capabilities alone do. A directory of the host's bpffs that the user may write to goes to /bpffs: container runtimes
# make no mount point below /sys. deploy/helm/sluice does all of it.
USER 10001:10001
ENV NODE_ENV=production
EXPOSE 4244 9965
# /healthz and /readyz are the kubelet's to ask.
HEALTHCHECK NONE
ENTRYPOINT ["node", "/app/bin/sluice.js"]
CMD ["agent", "--set", "kernel.pinPath=/bpffs"]
