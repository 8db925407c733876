# A static binary and nothing else. Sessions and keyring live in the volume /data.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /latchkey ./cmd/latchkey && mkdir /data

FROM scratch
COPY --from=build /latchkey /latchkey
COPY --from=build --chown=65532:65532 --chmod=0700 /data /data
USER 65532:65532
WORKDIR /data
VOLUME /data
# Publish the port to a TLS-terminating proxy only, and set LATCHKEY_PUBLIC_URL.
ENV LATCHKEY_LISTEN=0.0.0.0:8420
EXPOSE 8420
ENTRYPOINT ["/latchkey"]
CMD ["serve"]
