"""A client of the Model Context Protocol, as an agent is one."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import anyio
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


def agent(url: str, *calls: tuple[str, dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Connect as a new agent, list the tools and call some; return the tools and the results."""

    async def run() -> tuple[list[Any], list[Any]]:
        async with (
            streamablehttp_client(f"{url}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            return tools, [await session.call_tool(name, arguments) for name, arguments in calls]

    return anyio.run(run)


def call(url: str, tool: str, **arguments: Any) -> Any:
    """Call one tool as a new agent; return its contents."""
    _, (result,) = agent(url, (tool, arguments))
    assert not result.isError, result.content
    return result.content


def data_url(path: Path, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def address_of(content: Any) -> str:
    return re.search(r"https?://\S+", content.text)[0]
