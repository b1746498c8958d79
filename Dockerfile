# The service as one static binary. Build: docker build --build-arg VERSION=v0.1.0 -t klingwatch:0.1.0 .
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
# modules first: they change less often than the code, so their layer stays cached
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION
# without VERSION the binary reports what the Go toolchain recorded
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-X main.release=${VERSION}" -o /out/klingwatch ./cmd/klingwatch && mkdir /out/data

FROM debian:12.12-slim
# relays and receivers are asked by https; copied, so that building needs no apt
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/klingwatch /usr/local/bin/klingwatch
# kept files; a new volume here takes over the owner
COPY --from=build --chown=65532:65532 /out/data /var/lib/klingwatch
ENV KLINGWATCH_DATA_DIR=/var/lib/klingwatch
# a number, so that Kubernetes can tell that it is not root
USER 65532:65532
EXPOSE 8080
# the default of 127.0.0.1 would be reachable from inside the container only
ENV KLINGWATCH_LISTEN_ADDR=0.0.0.0:8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["klingwatch", "healthcheck"]
ENTRYPOINT ["klingwatch"]
CMD ["serve"]
