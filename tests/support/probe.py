import http.client


def ask(port: int, path: str) -> tuple[int, str]:
    """What a probe gets: status and text, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
